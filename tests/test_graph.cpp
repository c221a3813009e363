// The life of a graph: no leak, no recursion, errors where they belong.
#include <doctest/doctest.h>

#include "flr/flr.hpp"

using namespace flr;

TEST_CASE("a dropped loss frees the graph at once") {
  auto w = randn({64, 64});
  w.requires_grad(true);
  const index_t before = memory_stats().active;
  {
    const auto x = randn({32, 64});
    const auto y = softmax(tanh(linear(x, w)));
    const auto loss = mean(layer_norm(sdpa(reshape(y, {1, 1, 32, 64}), reshape(y, {1, 1, 32, 64}),
                                           reshape(y, {1, 1, 32, 64}))));
    CHECK(memory_stats().active > before);
  }
  CHECK(memory_stats().active == before);
}

TEST_CASE("after backward only the gradients remain") {
  auto w = randn({64, 64});
  w.requires_grad(true);
  const index_t before = memory_stats().active;
  {
    auto loss = mean(square(tanh(matmul(randn({32, 64}), w))));
    backward(loss);
  }
  CHECK(memory_stats().active == before + Pool::rounded(64 * 64 * 4));
}

TEST_CASE("a chain of 100,000 nodes is walked and freed without recursion") {
  auto x = ones<double>({1});
  x.requires_grad(true);
  {
    Tensor<double> y = x;
    for (int i = 0; i < 100000; ++i) y = y + 1;
    backward(y);
  }
  CHECK(x.grad().item() == 1);
  {
    Tensor<double> y = x;  // and one that never runs backward
    for (int i = 0; i < 100000; ++i) y = y * 1;
  }
}

TEST_CASE("gradients add up over uses and over calls") {
  auto x = full<double>({2}, 3);
  x.requires_grad(true);
  backward(sum(x * x + x));
  CHECK(x.grad().at(0) == doctest::Approx(7));
  backward(sum(x));
  CHECK(x.grad().at(0) == doctest::Approx(8));
  x.zero_grad();
  CHECK(x.grad().at(0) == 0);
  backward(sum(x));
  CHECK(x.grad().at(0) == 1);
}

TEST_CASE("a residual chain is linear in its length") {
  // Walking paths instead of nodes would take 2^60 visits here.
  auto x = ones<double>({1});
  x.requires_grad(true);
  Tensor<double> y = x;
  for (int i = 0; i < 60; ++i) y = y * 0.5 + y * 0.5;
  backward(y);
  CHECK(x.grad().item() == doctest::Approx(1));
}

TEST_CASE("a second backward needs retain_graph") {
  auto x = ones<double>({2});
  x.requires_grad(true);
  const auto y = sum(x * x);
  backward(y, {.retain_graph = true});
  backward(y);
  CHECK(x.grad().at(0) == 4);
  CHECK_THROWS_WITH_AS(backward(y), doctest::Contains("already freed"), Error);
}

TEST_CASE("a saved tensor changed in place is an error") {
  auto x = ones({2});
  x.requires_grad(true);
  auto a = x * 2;
  const auto y = sum(a * a);
  a.fill_(3);
  CHECK_THROWS_WITH_AS(backward(y), doctest::Contains("changed in place"), Error);
}

TEST_CASE("no_grad records nothing") {
  auto x = ones({2});
  x.requires_grad(true);
  CHECK_FALSE(no_grad([&] { return x * 2; }).requires_grad());
  CHECK((x * 2).requires_grad());
  CHECK_THROWS_WITH_AS(backward(sum(x.detach())), doctest::Contains("does not require a gradient"),
                       Error);
  CHECK_THROWS_WITH_AS(backward(x * 2), doctest::Contains("expected a scalar"), Error);
}

TEST_CASE("recompute draws the same random numbers and saves memory") {
  auto w = randn<float>({256, 256});
  w.requires_grad(true);
  const auto x = randn<float>({512, 256});
  const auto body = [&](const Tensor<float>& a) {
    return dropout(tanh(tanh(tanh(matmul(a, w)))), 0.5);
  };
  std::vector<float> gradient[2];
  index_t active[2];
  for (int k = 0; k < 2; ++k) {
    w.zero_grad();
    manual_seed(7);
    const index_t before = memory_stats().active;
    const auto y = mean(k ? recompute(body, x) : body(x));
    active[k] = memory_stats().active - before;
    backward(y);
    gradient[k] = w.grad().to_vector();
  }
  CHECK(gradient[0] == gradient[1]);
  CHECK(active[1] < active[0] / 2);
}

TEST_CASE("a leaf's gradient is memory of its own") {
  // The gradient of a sum is a view of one number; that of an addition is shared by both terms.
  auto x = ones<double>({3}), y = ones<double>({3});
  x.requires_grad(true), y.requires_grad(true);
  backward(sum(x));
  backward(sum(x));
  CHECK(x.grad().to_vector() == std::vector<double>{2, 2, 2});
  x.zero_grad();
  const auto z = x + y;
  backward(z, ones<double>({3}));
  backward(x * 1.0, ones<double>({3}));
  CHECK(y.grad().to_vector() == std::vector<double>{1, 1, 1});
  CHECK(x.grad().to_vector() == std::vector<double>{2, 2, 2});
}

TEST_CASE("an error in a gradient function leaves no gradient that was not computed") {
  auto x = ones({3});
  x.requires_grad(true);
  auto y = ones({3});
  record("fails", y, Inputs(x), [](Backward& b) {
    auto apart = b.target<double>(0);  // of another type: would be added when it goes
    apart.tensor().copy_(full<double>({3}, 7));
    fail("[fails] on the way");
  });
  CHECK_THROWS_WITH(backward(sum(y)), "[fails] on the way");
  CHECK(x.grad().to_vector() == std::vector<float>{0, 0, 0});
}

TEST_CASE("attention's gradient for queries that are a broadcast view") {
  manual_seed(3);
  const auto k = randn<double>({2, 3, 7, 4}), v = randn<double>({2, 3, 7, 4});
  auto view = randn<double>({1, 3, 5, 4}), copy = view.clone();
  view.requires_grad(true), copy.requires_grad(true);
  backward(sum(sdpa(broadcast_to(view, {2, 3, 5, 4}), k, v)));
  backward(sum(sdpa(contiguous(broadcast_to(copy, {2, 3, 5, 4})), k, v)));
  const auto a = view.grad().to_vector(), b = copy.grad().to_vector();
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-12));
}

TEST_CASE("the graph as DOT") {
  auto x = ones({2});
  x.requires_grad(true);
  const std::string dot = to_dot(sum(tanh(x)));
  CHECK(dot.find("sum") != std::string::npos);
  CHECK(dot.find("leaf") != std::string::npos);
  CHECK(dot.find("->") != std::string::npos);
}

TEST_CASE("formulas print") {
  CHECK(formula::print(silu(_1) * _2 + 0.5) == "((silu(x1) * x2) + s0)");
  CHECK(formula::print(formula::derivative<1>(_1 * _2)) == "x2");
  CHECK(formula::print(formula::derivative<1>(exp(_1 * 2.0))) == "(exp((x1 * s0)) * s1)");
  CHECK(formula::print(where(_1 > 0.0, _1, 0.0)) == "((x1 > s0) != 0 ? x1 : s1)");
}

TEST_CASE("gradients of parts that lie in one memory are that memory") {
  auto w = ones<double>({2, 6}).requires_grad(true);
  Tensor<double> x = w.detach().clone();
  const double* seen = nullptr;
  record("probe", x, Inputs(w), [&seen](Backward& b) {
    const auto g = b.grad_strided<double>();
    seen = g.data();
    b.give(0, g);
  });
  const auto memory = reshape(from_vector<double>({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}), {2, 6});
  for (const bool together : {true, false}) {
    CAPTURE(together);
    w.zero_grad();
    if (!together) {
      x = w.detach().clone();
      record("probe", x, Inputs(w), [&seen](Backward& b) {
        const auto g = b.grad_strided<double>();
        seen = g.data();
        b.give(0, g);
      });
    }
    const auto parts = split(x, {2, 4}, 1);
    auto y = zeros<double>({1});
    record("meeting", y, Inputs(parts[0], parts[1]), [memory, together](Backward& b) {
      const auto first = slice(memory, 1, 0, 2), second = slice(memory, 1, 2, 6);
      b.give(0, together ? first : first.clone());
      b.give(1, second);
    });
    backward(y);
    CHECK((seen == memory.data()) == together);
    CHECK(w.grad().to_vector() == memory.to_vector());
  }
}

TEST_CASE("gradients of parts that lie in one memory in another way are put where they belong") {
  const auto memory = reshape(from_vector<double>({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}), {2, 6});
  const auto turned = transpose(reshape(memory, {6, 2}), 0, 1);  // [2,6] too
  using Two = std::pair<Tensor<double>, Tensor<double>>;
  for (const auto& [first, second] :
       {Two{slice(memory, 1, 3, 6), slice(memory, 1, 0, 3)},    // exchanged
        Two{slice(memory, 1, 0, 3), slice(memory, 1, 0, 3)},    // twice the same
        Two{slice(memory, 1, 0, 2), slice(turned, 1, 1, 5)}}) {  // the second in other steps
    auto w = ones<double>({2, 6}).requires_grad(true);
    const auto parts = split(w * 1, {first.size(1), second.size(1)}, 1);
    auto y = zeros<double>({1});
    record("meeting", y, Inputs(parts[0], parts[1]), [first, second](Backward& b) {
      b.give(0, first), b.give(1, second);
    });
    backward(y);
    CHECK(w.grad().to_vector() == concat<double>({first, second}, 1).to_vector());
  }
}

TEST_CASE("attention gives gradients of one projection in one memory") {
  const auto qkv = randn({2, 5, 24});
  for (const auto layout : {nn::QkvLayout::by_projection, nn::QkvLayout::by_head}) {
    const auto [q, k, v] = nn::split_qkv(qkv, 4, layout);
    const auto parts = detail::joint_gradients(q, k, v);
    REQUIRE(parts.size() == 3);
    for (const auto& [part, like] : {std::pair{parts[0], q}, {parts[1], k}, {parts[2], v}}) {
      CHECK(part.shape() == like.shape());
      CHECK(part.strides() == like.strides());
      CHECK(part.data() - parts[0].data() == like.data() - q.data());
    }
    // Handed over whole: what the layer in front receives is one memory, though by heads not in its order.
    auto w = qkv.clone().requires_grad(true);
    Tensor<float> joint = w.detach().clone();
    index_t parts_of_memory = 0;
    record("probe", joint, Inputs(w), [&](Backward& b) {
      const auto g = b.grad_strided<float>();
      parts_of_memory = static_cast<index_t>(g.impl().storage.use_count());
      b.give(0, g);
    });
    {
      const auto [a, c, d] = nn::split_qkv(joint, 4, layout);
      Tensor<float> y = zeros<float>({1});
      const auto gradients = detail::joint_gradients(a, c, d);
      for (const auto& g : gradients) REQUIRE(g.defined());
      for (std::size_t i = 0; i < 3; ++i) Tensor<float>(gradients[i]).copy_(randn(a.shape()));
      record("meeting", y, Inputs(a, c, d), [gradients](Backward& b) {
        for (int i = 0; i < 3; ++i) b.give(i, gradients[static_cast<std::size_t>(i)]);
      });
      backward(y);
      CHECK(parts_of_memory > 3);  // the three of `gradients`, and the whole
    }
    CHECK(detail::joint_gradients(k, q, v).empty());
    CHECK(detail::joint_gradients(q, k, v.clone()).empty());
  }
}
