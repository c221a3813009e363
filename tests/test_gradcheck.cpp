// Every differentiable operation against central differences, in double.
#include <doctest/doctest.h>

#include "flr/flr.hpp"

using namespace flr;

namespace {

using Inputs_ = std::vector<Tensor<double>>;

Tensor<double> noise(const Shape& shape, std::uint64_t seed = 1) {
  random_state() = {seed, 0, static_cast<std::uint64_t>(shape.numel())};
  return randn<double>(shape);
}

template <class F>
void require_gradients(F fn, Inputs_ x, GradcheckOptions options = {}) {
  const GradcheckResult r = gradcheck(fn, std::move(x), options);
  CHECK_MESSAGE(r.ok, r.where);
}

}  // namespace

TEST_CASE("gradcheck notices a wrong gradient") {
  // y = x² with the gradient of 2x + 1e-4: off by one part in ten thousand.
  const auto wrong = [](const Inputs_& x) {
    Tensor<double> y = map(square(_1), x[0].detach());
    if (recording(x[0]))
      record("wrong", y, Inputs(x[0]), [x = save(x[0])](Backward& b) {
        b.give(0, map((2.0 * _1 + 1e-4) * _2, x.get("wrong"), b.grad<double>()));
      });
    return y;
  };
  CHECK_FALSE(gradcheck(wrong, {noise({5})}).ok);
}

TEST_CASE("map: every word of the vocabulary") {
  const auto x = noise({3, 4}), y = noise({3, 4}, 2);
  const auto positive = map(abs(_1) + 0.5, noise({3, 4}, 3));
#define CASE(f, ...) \
  SUBCASE(#f) { require_gradients([](const Inputs_& x) { return map(f, __VA_ARGS__); }, {x, y, positive}); }
  CASE(-_1, x[0])
  CASE(abs(_1), x[0])
  CASE(exp(_1), x[0])
  CASE(log(_1), x[2])
  CASE(sqrt(_1), x[2])
  CASE(rsqrt(_1), x[2])
  CASE(square(_1), x[0])
  CASE(reciprocal(_1), x[2])
  CASE(sin(_1), x[0])
  CASE(cos(_1), x[0])
  CASE(tanh(_1), x[0])
  CASE(erf(_1), x[0])
  CASE(sigmoid(_1), x[0])
  CASE(relu(_1), x[0])
  CASE(elu(_1), x[0])
  CASE(softplus(_1), x[0])
  CASE(silu(_1), x[0])
  CASE(gelu(_1), x[0])
  CASE(gelu_tanh(_1), x[0])
  CASE(_1 + _2, x[0], x[1])
  CASE(_1 - _2, x[0], x[1])
  CASE(_1 * _2, x[0], x[1])
  CASE(_1 / _2, x[0], x[2])
  CASE(min(_1, _2), x[0], x[1])
  CASE(max(_1, _2), x[0], x[1])
  CASE(pow(_1, _2), x[2], x[1])
  CASE(pow(_1, 3.0), x[0])
  CASE(where(_1 > 0.0, _1 * _2, _2), x[0], x[1])
  CASE(silu(_1) * _2 + _3 / (1.0 + exp(-_1)) - 0.5 * _1, x[0], x[1], x[2])
  CASE(_1 * _1 * _1, x[0])
#undef CASE
}

TEST_CASE("map: broadcast gradients are summed") {
  for (const auto& [a, b] : std::vector<std::pair<Shape, Shape>>{
           {{3, 4}, {4}}, {{3, 4}, {3, 1}}, {{2, 1, 4}, {3, 1}}, {{}, {2, 3}}, {{2, 3, 4}, {1, 3, 1}}})
    require_gradients([](const Inputs_& x) { return map(tanh(_1) * _2, x[0], x[1]); },
                      {noise(a), noise(b, 2)});
}

TEST_CASE("a tensor used twice in one operation") {
  require_gradients([](const Inputs_& x) { return x[0] * x[0] + x[0]; }, {noise({4})});
  require_gradients([](const Inputs_& x) { return matmul(x[0], x[0]); }, {noise({3, 3})});
  require_gradients([](const Inputs_& x) { return sdpa(x[0], x[0], x[0]); }, {noise({1, 2, 4, 3})});
}

TEST_CASE("leaves in a sum and elsewhere, whose gradients come from memory that others share") {
  // Behind the sum is another operation: a seed of the caller's would be shared anyway.
  const auto squared = [](auto f) {
    return [f](const Inputs_& x) { return square(f(x)); };
  };
  const auto x = noise({4, 4}), w = noise({4, 4}, 2), b = noise({4}, 3);
  require_gradients(squared([](const Inputs_& x) { return x[0] + linear(x[0], x[1], x[2]); }), {x, w, b});
  require_gradients(squared([](const Inputs_& x) { return linear(x[0], x[1], x[2]) + x[0]; }), {x, w, b});
  require_gradients(squared([](const Inputs_& x) { return x[0] + linear(x[0], x[0], x[1]); }), {w, b});
  require_gradients(squared([](const Inputs_& x) { return x[0] + matmul(x[0], x[0]); }), {x});
  require_gradients(squared([](const Inputs_& x) { return x[0] + transpose(x[0], 0, 1); }), {x});
  require_gradients(squared([](const Inputs_& x) { return x[0] + roll(x[0], 1, 0); }), {x});
  require_gradients(squared([](const Inputs_& x) { return map(_1 + _2 + _3, x[0], x[0], x[1]); }), {x, w});
  require_gradients(squared([](const Inputs_& x) { return map(_1 + _2 * _3, x[0], x[1], x[0]); }), {x, w});
  require_gradients(squared([](const Inputs_& x) {
                      const Tensor<double> a = x[0] + layer_norm(x[0], x[1], x[2]);
                      return a + softmax(a, -1) + x[2];
                    }),
                    {x, noise({4}, 4), b});
}

TEST_CASE("reductions") {
  const auto x = noise({2, 3, 4});
  for (const Shape& axes : {Shape{}, Shape{0}, Shape{1}, Shape{-1}, Shape{0, 2}, Shape{1, 2}}) {
    require_gradients([&](const Inputs_& x) { return sum(x[0], axes); }, {x});
    require_gradients([&](const Inputs_& x) { return mean(x[0], axes, true); }, {x});
    require_gradients([&](const Inputs_& x) { return max(x[0], axes); }, {x});
    require_gradients([&](const Inputs_& x) { return variance(x[0], axes); }, {x});
  }
}

TEST_CASE("views") {
  const auto x = noise({2, 3, 4});
  require_gradients([](const Inputs_& x) { return square(reshape(x[0], {6, -1})); }, {x});
  require_gradients([](const Inputs_& x) { return square(permute(x[0], {2, 0, 1})); }, {x});
  require_gradients([](const Inputs_& x) { return square(transpose(x[0], 0, -1)); }, {x});
  require_gradients([](const Inputs_& x) { return square(reshape(transpose(x[0], 0, 1), {3, 8})); }, {x});
  require_gradients([](const Inputs_& x) { return square(slice(x[0], 2, 1, 4, 2)); }, {x});
  require_gradients([](const Inputs_& x) { return x[0][1] * x[0][0]; }, {x});
  require_gradients([](const Inputs_& x) { return square(broadcast_to(x[0], {5, 3, 4})); }, {noise({3, 1})});
  require_gradients([](const Inputs_& x) { return contiguous(transpose(x[0], 1, 2)) * 2; }, {x});
}

TEST_CASE("concat, split, gather, flip, roll") {
  const auto a = noise({2, 3}), b = noise({2, 2}, 2);
  require_gradients([](const Inputs_& x) { return square(concat<double>({x[0], x[1], x[0]}, 1)); }, {a, b});
  require_gradients([](const Inputs_& x) {
    const auto parts = split(x[0], {1, 2}, 1);
    return sum(parts[0]) * sum(square(parts[1]));
  }, {a});
  require_gradients([](const Inputs_& x) { return square(split(x[0] * 2, {1, 1, 1}, 1)[1]); }, {a});
  require_gradients([](const Inputs_& x) {
    const auto twice = x[0] * 2;
    const auto parts = split(twice, {1, 2}, -1);
    const auto later = square(slice(twice, 1, 0, 2));  // so that its gradient has a part already
    return square(parts[1]) * later;
  }, {a});
  require_gradients([](const Inputs_& x) {
    const auto twice = x[0] * 2;
    const auto parts = split(twice, {1, 2}, -1);
    const auto later = square(slice(twice, 1, 0, 2));
    return square(parts[1]) * later * square(parts[0]);
  }, {a});
  for (const auto layout : {nn::QkvLayout::by_projection, nn::QkvLayout::by_head})
    require_gradients([&](const Inputs_& x) {
      const auto [q, k, v] = nn::split_qkv(x[0] * 2, 2, layout);
      return sdpa(q, k, v) * sdpa(q, k, v, {.scale = 0.3});  // both give gradients to q, k and v
    }, {noise({2, 3, 12})});
  const auto index = from_vector<index_t>({2, 0, 0, 1, 1, 1}, {2, 3});
  require_gradients([&](const Inputs_& x) { return square(gather(x[0], 1, index)); }, {a});
  require_gradients([](const Inputs_& x) { return square(flip(x[0], 1)); }, {a});
  require_gradients([](const Inputs_& x) { return square(roll(x[0], 2, -1)); }, {a});
  require_gradients([](const Inputs_& x) { return square(index_select(x[0], 0, {1, 1, 0})); }, {a});
}

TEST_CASE("matmul: plain, transposed, batched, broadcast") {
  const auto mm = [](const Inputs_& x) { return matmul(x[0], x[1]); };
  require_gradients(mm, {noise({3, 4}), noise({4, 2}, 2)});
  require_gradients(mm, {noise({2, 3, 4}), noise({2, 4, 2}, 2)});
  require_gradients(mm, {noise({2, 3, 4}), noise({4, 2}, 2)});
  require_gradients(mm, {noise({3, 4}), noise({5, 4, 2}, 2)});
  require_gradients(mm, {noise({2, 1, 3, 4}), noise({1, 3, 4, 2}, 2)});
  require_gradients(mm, {noise({2, 1, 2, 3, 4}), noise({2, 3, 1, 4, 2}, 2)});
  require_gradients([](const Inputs_& x) { return matmul(x[0], transpose(x[1], -1, -2)); },
                    {noise({2, 3, 4}), noise({2, 5, 4}, 2)});
  require_gradients([](const Inputs_& x) { return matmul(transpose(x[0], -1, -2), x[1]); },
                    {noise({2, 4, 3}), noise({2, 4, 5}, 2)});
}

TEST_CASE("linear with every activation") {
  for (auto act : {Activation::identity, Activation::relu, Activation::gelu, Activation::gelu_tanh,
                   Activation::silu, Activation::tanh, Activation::sigmoid})
    require_gradients([&](const Inputs_& x) { return linear(x[0], x[1], x[2], act); },
                      {noise({2, 3, 4}), noise({5, 4}, 2), noise({5}, 3)});
  require_gradients([](const Inputs_& x) { return linear(x[0], x[1]); },
                    {noise({3, 4}), noise({2, 4}, 2)});
}

TEST_CASE("feed-forward layer") {
  const auto x = noise({2, 3, 4}), w1 = noise({6, 4}, 2), b1 = noise({6}, 3), w2 = noise({4, 6}, 4);
  for (Activation act : {Activation::gelu, Activation::silu})
    require_gradients([act](const Inputs_& t) { return feed_forward(t[0], t[1], t[2], t[3], t[4], act); },
                      {x, w1, b1, w2, noise({4}, 5)});
  CHECK_THROWS_WITH_AS(feed_forward(x, w1, b1, w1, noise({4}, 5)),
                       doctest::Contains("[feed_forward] expected x [.., in]"), Error);
}

TEST_CASE("residual MLP") {
  for (int layers : {0, 1, 3})
    for (bool rin : {false, true})
      for (bool rout : {false, true}) {
        Inputs_ x{noise({2, 3, 4})};
        for (int i = 0; i < layers + 2; ++i) {
          x.push_back(noise({4, 4}, 10 + i) * 0.5);
          x.push_back(noise({4}, 20 + i));
        }
        require_gradients([&](const Inputs_& x) {
          std::vector<Tensor<double>> w, b;
          for (std::size_t i = 1; i < x.size(); i += 2) w.push_back(x[i]), b.push_back(x[i + 1]);
          return residual_mlp(x[0], w, b, {rin, rout, Activation::gelu_tanh});
        }, x);
      }
}

TEST_CASE("softmax over any axis") {
  for (int axis : {0, 1, 2}) {
    require_gradients([&](const Inputs_& x) { return softmax(x[0], axis); }, {noise({2, 3, 4})});
    require_gradients([&](const Inputs_& x) { return log_softmax(x[0], axis); }, {noise({2, 3, 4})});
  }
}

TEST_CASE("norms") {
  const auto x = noise({3, 5}), w = noise({5}, 2), b = noise({5}, 3);
  require_gradients([](const Inputs_& x) { return layer_norm(x[0], x[1], x[2]); }, {x, w, b});
  require_gradients([](const Inputs_& x) { return layer_norm(x[0]); }, {x});
  require_gradients([](const Inputs_& x) { return rms_norm(x[0], x[1]); }, {x, w});
  require_gradients([](const Inputs_& x) { return rms_norm(x[0]); }, {x});
}

TEST_CASE("norms of sums") {
  const auto x = noise({2, 3, 5}), a = noise({2, 3, 5}, 4), rows = noise({3, 5}, 5), w = noise({5}, 2), b = noise({5}, 3);
  const auto both = [](const SumAndNorm<double>& y) { return map(sin(_1) * _2, y.sum, y.norm); };
  require_gradients([&](const Inputs_& x) { return both(add_layer_norm(x[0], x[1], x[2], x[3], x[4])); },
                    {x, a, rows, w, b});
  require_gradients([&](const Inputs_& x) { return both(add_layer_norm(x[0], x[1])); }, {x, a});
  require_gradients([&](const Inputs_& x) { return both(add_rms_norm(x[0], {}, x[1], x[2])); }, {x, b, w});
  // The same tensor twice, one of the results alone, and a sum that others read too.
  require_gradients([&](const Inputs_& x) { return both(add_layer_norm(x[0], x[0], x[1])); }, {x, rows});
  require_gradients([&](const Inputs_& x) { return add_layer_norm(x[0], x[1]).norm; }, {x, a});
  require_gradients([&](const Inputs_& x) { return square(add_layer_norm(x[0], x[1]).sum); }, {x, a});
  require_gradients([&](const Inputs_& x) {
    const auto y = add_layer_norm(x[0], x[1]);
    const auto z = add_rms_norm(y.sum, y.norm * y.norm, x[2]);
    return both(z) + y.sum;
  }, {x, a, rows});
  CHECK_THROWS_WITH(add_layer_norm(x, rows), "[add_layer_norm] expected an addend of the shape of x [2,3,5], got [3,5]");
  CHECK_THROWS_WITH(add_rms_norm(x, a, noise({2, 5})),
                    "[add_rms_norm] expected rows to add of the shape of x's last axes, with x [2,3,5]; got [2,5]");
}

TEST_CASE_TEMPLATE("gradients of norms of sums are those of additions and norms, to the bit", T, float, double, bf16) {
  using C = compute_t<T>;
  // x and a are not contiguous. Rows are, though unaligned: the gradient of a copy, made for each of two uses,
  // would be rounded to bf16 before it is added.
  const auto gradients = [](bool together) {
    std::vector<Tensor<C>> leaves;
    const auto leaf = [&](const Shape& shape) {
      leaves.push_back(noise(shape, static_cast<unsigned>(10 + leaves.size())).to<C>());
      leaves.back().requires_grad(true);
      return leaves.back().template to<T>();
    };
    Tensor<T> x = leaf({5, 3, 24}).transpose(0, 1), a = leaf({3, 24, 5}).transpose(1, 2);
    const Tensor<T> rows = slice(leaf({5 * 24 + 1}), 0, 1, 5 * 24 + 1).reshape({5, 24});
    leaves.push_back(noise({24}, 3).to<C>());
    const Tensor<C> w = leaves.back().requires_grad(true);
    for (int i = 0; i < 2; ++i) {
      const Tensor<T> sum = (x + a) + rows;
      const auto s = together ? add_layer_norm(x, a, rows, w) : SumAndNorm<T>{sum, layer_norm(sum, w)};
      x = s.sum, a = map(sin(_1), s.norm);
    }
    backward(sum(square(x + a)));
    std::vector<std::vector<C>> list{(x + a).detach().template to<C>().to_vector()};
    for (const auto& leaf : leaves) list.push_back(leaf.grad().to_vector());
    return list;
  };
  const auto fused = gradients(true), apart = gradients(false);
  REQUIRE(fused.size() == 5);
  for (std::size_t i = 0; i < fused.size(); ++i) {
    CAPTURE(i);
    CHECK(fused[i] == apart[i]);
  }
}

TEST_CASE("norms of empty sums") {
  auto x = zeros<float>({2, 0, 4}), rows = zeros<float>({0, 4});
  x.requires_grad(true), rows.requires_grad(true);
  const auto y = add_layer_norm(x, x, rows);
  CHECK(y.norm.shape() == Shape{2, 0, 4});
  backward(y.norm, y.sum.detach());
  CHECK(x.grad().numel() == 0);
}

TEST_CASE_TEMPLATE("norms of sums are what additions and norms are, to the bit", T, float, double, bf16) {
  using C = compute_t<T>;
  for (const index_t cols : {1, 7, 64, 300}) {
    const auto x = noise({5, 3, cols}).to<T>(), a = noise({5, 3, cols}, 2).to<T>(), rows = noise({3, cols}, 3).to<T>();
    const auto w = noise({cols}, 4).to<C>(), b = noise({cols}, 5).to<C>();
    const auto same = [](const Tensor<T>& a, const Tensor<T>& b) {
      return a.template to<double>().to_vector() == b.template to<double>().to_vector();
    };
    const auto y = add_layer_norm(x, a, rows, w, b);
    CHECK(same(y.sum, (x + a) + rows));
    CHECK(same(y.norm, layer_norm(y.sum, w, b)));
    const auto z = add_rms_norm(x, a, {}, w, 1e-6);
    CHECK(same(z.sum, x + a));
    CHECK(same(z.norm, rms_norm(z.sum, w, 1e-6)));
    const auto r = add_rms_norm(x, {}, rows);
    CHECK(same(r.sum, x + rows));
    CHECK(same(r.norm, rms_norm(r.sum)));
  }
}

TEST_CASE("embedding and dropout") {
  const auto index = from_vector<index_t>({1, 0, 1, 2}, {2, 2});
  require_gradients([&](const Inputs_& x) { return square(embedding(index, x[0])); }, {noise({3, 2})});
  require_gradients([](const Inputs_& x) { return dropout(x[0] * 2, 0.3); }, {noise({20})});
}

TEST_CASE("losses") {
  const auto labels = from_vector<index_t>({0, -100, 2, 1}, {4});
  require_gradients([&](const Inputs_& x) { return cross_entropy(x[0], labels); }, {noise({4, 3})});
  const auto target = map(sigmoid(_1), noise({4, 3}, 5));
  require_gradients([&](const Inputs_& x) { return bce_with_logits(x[0], target); }, {noise({4, 3})});
  const auto two = [](auto f) { return [f](const Inputs_& x) { return f(x[0], x[1]); }; };
  const Inputs_ pair{noise({3, 4, 2}), noise({3, 4, 2}, 2)};
  require_gradients(two([](auto& a, auto& b) { return mse(a, b); }), pair);
  require_gradients(two([](auto& a, auto& b) { return relative_l2(a, b); }), pair);
  require_gradients(two([](auto& a, auto& b) { return relative_l1(a, b); }), pair);
}

TEST_CASE("sdpa: masks, bias, broadcast, widths") {
  const auto attend = [](SdpaOptions<double> o = {}) {
    return [o](const Inputs_& x) { return sdpa(x[0], x[1], x[2], o); };
  };
  const auto q = noise({2, 2, 3, 4}), k = noise({2, 2, 5, 4}, 2), v = noise({2, 2, 5, 3}, 3);
  require_gradients(attend(), {q, k, v});
  require_gradients(attend({.scale = 1.5}), {q, k, v});
  require_gradients(attend({.causal = true}), {q, k, v});
  require_gradients(attend({.causal = true}), {noise({1, 2, 5, 4}), noise({1, 2, 3, 4}, 2), noise({1, 2, 3, 4}, 3)});
  require_gradients(attend({.keep = from_vector<std::uint8_t>({1, 0, 1, 1, 0, 0, 0, 0, 0, 0}, {2, 5})}), {q, k, v});
  require_gradients(attend(), {noise({1, 2, 3, 4}), k, v});
  require_gradients(attend(), {noise({2, 1, 3, 4}), k, v});
  require_gradients(attend(), {q, noise({1, 2, 5, 4}, 2), noise({2, 1, 5, 3}, 3)});
  for (const Shape& bias : {Shape{2, 2, 3, 5}, Shape{2, 3, 5}, Shape{3, 5}, Shape{2, 1, 1, 5}, Shape{1, 2, 3, 1}})
    require_gradients([](const Inputs_& x) { return sdpa(x[0], x[1], x[2], {.bias = x[3]}); },
                      {q, k, v, noise(bias, 4)});
}

TEST_CASE("FLARE's two hops") {
  const auto q = noise({2, 3, 4}), k = noise({2, 2, 6, 4}, 2), v = noise({2, 2, 6, 4}, 3);
  require_gradients([](const Inputs_& x) { return flare_encode(x[0], x[1], x[2]); }, {q, k, v});
  require_gradients([](const Inputs_& x) { return flare_decode(x[0], x[1], x[2], 0.5); },
                    {q, k, noise({2, 2, 3, 4}, 5)});
  require_gradients([](const Inputs_& x) { return flare_mixer(x[0], x[1], x[2]); }, {q, k, v});
}

TEST_CASE("recompute gives the same gradients") {
  require_gradients([](const Inputs_& x) {
    return recompute([](const Tensor<double>& a, const Tensor<double>& b) { return dropout(tanh(a * b), 0.25) * a; },
                     x[0], x[1]);
  }, {noise({3, 4}), noise({3, 4}, 2)});
}
