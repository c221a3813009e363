// Groups, schedules, averages and initialisers.
#include <doctest/doctest.h>

#include <cmath>

#include "flr/nn.hpp"
#include "flr/optim.hpp"

using namespace flr;
using namespace flr::optim;

namespace {

struct Layer : nn::Module<double> {
  Layer() { add_child("block", linear), add_child("norm", norm); }
  nn::Linear<double> linear{3, 2};
  nn::Norm<double> norm{2};
};

}  // namespace

TEST_CASE("groups: what decays, by role and by name") {
  using nn::Role;
  CHECK(group_of("blocks.0.att.k_proj.fc1.weight", Role::weight) == Group::decay);
  CHECK(group_of("blocks.0.att.k_proj.fc1.bias", Role::bias) == Group::no_decay);
  CHECK(group_of("blocks.0.norm1.weight", Role::norm) == Group::no_decay);
  CHECK(group_of("pos_embed", Role::other) == Group::no_decay);
  CHECK(group_of("cls_token", Role::other) == Group::no_decay);
  CHECK(group_of("blocks.0.att.latent_q", Role::latent) == Group::latent);
  // What the reference really did: its test for latents never matches, so they decay.
  CHECK(group_of("blocks.0.att.latent_q", Role::latent, {.legacy = true}) == Group::decay);
}

TEST_CASE("only the decaying group decays; the ranges cover every parameter once") {
  manual_seed(1);
  Layer layer;
  AdamW<double> adamw(layer, {.lr = 0.1, .weight_decay = 0.5});
  const auto before = layer.linear.weight.to_vector(), bias = layer.linear.bias.to_vector();
  adamw.zero_grad();
  adamw.step();  // all gradients count as zero, so only decay acts
  const auto after = layer.linear.weight.to_vector();
  for (std::size_t i = 0; i < before.size(); ++i)
    CHECK(after[i] == doctest::Approx(before[i] * (1 - 0.1 * 0.5)));
  CHECK(layer.linear.bias.to_vector() == bias);
  index_t covered = 0;
  for (const auto& list : adamw.groups().ranges)
    for (const ArenaRange& r : list) covered += r.end - r.begin;
  CHECK(covered == layer.num_parameters());
}

TEST_CASE("clipping and scaling act on what the step sees") {
  const auto moved = [](double scale, double clip, bool by_call) {
    manual_seed(2);
    Layer layer;
    SGD<double> sgd(layer, {.lr = 1, .momentum = 0});
    const auto before = layer.linear.weight.to_vector();
    sgd.zero_grad();
    backward(sum(layer.linear.weight * 3.0));  // a norm of 3√6
    sgd.scale_grad(scale);
    if (by_call) CHECK(clip_grad_norm(sgd, clip) == doctest::Approx(3 * std::sqrt(6.0) * scale));
    else sgd.hyper.clip = clip;
    sgd.step();
    return before[0] - layer.linear.weight.to_vector()[0];
  };
  CHECK(moved(1, 0, false) == doctest::Approx(3));
  CHECK(moved(0.5, 0, false) == doctest::Approx(1.5));
  for (bool by_call : {false, true}) {
    CHECK(moved(1, 1, by_call) == doctest::Approx(1 / std::sqrt(6.0)));
    CHECK(moved(0.5, 1, by_call) == doctest::Approx(1 / std::sqrt(6.0)));
    CHECK(moved(1, 100, by_call) == doctest::Approx(3));
  }
}

TEST_CASE("a gradient that is not finite leaves weights and moments alone when it is clipped") {
  manual_seed(3);
  Layer layer;
  AdamW<double> adamw(layer, {.lr = 0.1});
  adamw.hyper.clip = 1;
  const auto before = layer.linear.weight.to_vector();
  adamw.zero_grad();
  backward(sum(layer.linear.weight * std::nan("")));
  adamw.step();
  CHECK(layer.linear.weight.to_vector() == before);
}

TEST_CASE("EMA: a running mean, exchanged for a scope") {
  manual_seed(4);
  Layer layer;
  EMA<double> ema(layer, 0.75);
  const auto start = layer.linear.weight.to_vector();
  layer.linear.weight.fill_(2);
  ema.update();
  {
    AveragedWeights<double> scope(ema);
    CHECK(layer.linear.weight.to_vector()[1] == doctest::Approx(0.75 * start[1] + 0.25 * 2));
  }
  CHECK(layer.linear.weight.to_vector()[1] == 2);
  CHECK_THROWS_AS(EMA<double>(layer, 1), Error);
}

TEST_CASE("warm-up rises linearly and hands over") {
  const LinearWarmup warm(4, std::make_unique<Cosine>(1.0, 10));
  for (int i = 0; i < 4; ++i) CHECK(warm.at(i).lr == doctest::Approx((i + 1) / 4.0));
  CHECK(warm.at(4).lr == doctest::Approx(1));
  CHECK(warm.at(9).lr == doctest::Approx(0.5));
  CHECK_THROWS_AS(OneCycle({.total_steps = 0}), Error);
}

TEST_CASE("initialisers draw from their distributions") {
  manual_seed(5);
  const auto moments = [](const Tensor<double>& x) {
    double mean = 0, square = 0, most = 0;
    for (double v : x.to_vector())
      mean += v, square += v * v, most = std::max(most, std::abs(v));
    const double n = static_cast<double>(x.numel());
    return std::array{mean / n, std::sqrt(square / n), most};
  };
  auto w = zeros<double>({400, 250});
  nn::normal(w, 0.02);
  CHECK(moments(w)[1] == doctest::Approx(0.02).epsilon(0.02));
  nn::truncated_normal(w, 1.0, 2.0);
  CHECK(moments(w)[2] <= 2);
  CHECK(moments(w)[1] == doctest::Approx(0.8796).epsilon(0.02));  // of N(0,1) cut at ±2
  nn::kaiming_uniform(w);
  CHECK(moments(w)[2] <= 1 / std::sqrt(250.0));
  CHECK(moments(w)[1] == doctest::Approx(1 / std::sqrt(3 * 250.0)).epsilon(0.02));
  nn::xavier_uniform(w);
  CHECK(moments(w)[2] <= std::sqrt(6.0 / 650));
  CHECK(moments(w)[1] == doctest::Approx(std::sqrt(2.0 / 650)).epsilon(0.02));
  CHECK(std::abs(moments(w)[0]) < 1e-3);

  nn::Embedding<double> table(7, 5, 2);
  CHECK(moments(table.weight.slice(0, 2, 3))[2] == 0);
  const auto s = nn::sinusoid<double>(6, 4);
  CHECK(s.at(3, 0) == doctest::Approx(std::sin(3.0)));
  CHECK(s.at(3, 3) == doctest::Approx(std::cos(3.0 / 100)));
}

TEST_CASE("compositions define the fused operations") {
  manual_seed(6);
  const auto x = randn<double>({3, 5}), w = randn<double>({5}), b = randn<double>({5});
  const auto close = [](const Tensor<double>& p, const Tensor<double>& q) {
    const auto a = p.to_vector(), c = q.to_vector();
    REQUIRE(a.size() == c.size());
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(c[i]).epsilon(1e-11));
  };
  close(layer_norm(x, w, b), layer_norm_composition(x, w, b));
  close(rms_norm(x, w), rms_norm_composition(x, w));
  const auto q = randn<double>({2, 2, 4, 3}), k = randn<double>({2, 2, 6, 3});
  const auto v = randn<double>({2, 2, 6, 5}), bias = randn<double>({1, 2, 4, 6});
  const auto keep = from_vector<std::uint8_t>({1, 0, 1, 1, 1, 0}, {1, 6});
  close(sdpa(q, k, v, {.causal = true, .keep = keep, .bias = bias}),
        sdpa_composition(q, k, v, {.causal = true, .keep = keep, .bias = bias}));
  const std::vector<Tensor<double>> ws{randn<double>({4, 5}), randn<double>({4, 4}), randn<double>({4, 4})};
  const std::vector<Tensor<double>> bs{randn<double>({4}), randn<double>({4}), randn<double>({4})};
  const ResidualMlpOptions o{false, true, Activation::gelu_tanh};
  close(residual_mlp(x, ws, bs, o), residual_mlp_composition(x, ws, bs, o));
}

TEST_CASE("softmax, dense layers and losses: values and gradients of the compositions") {
  manual_seed(7);
  const auto same = [](auto&& fused, auto&& composed, const Tensor<double>& start) {
    Tensor<double> gradients[2];
    std::vector<double> values[2];
    int k = 0;
    const auto run = [&](auto&& f) {
      Tensor<double> x = start.clone().requires_grad(true);
      const Tensor<double> y = f(x);
      manual_seed(8);
      backward(y, randn<double>(y.shape()));
      values[k] = y.to_vector(), gradients[k] = x.grad(), ++k;
    };
    run(fused), run(composed);
    const auto g0 = gradients[0].to_vector(), g1 = gradients[1].to_vector();
    for (std::size_t i = 0; i < values[0].size(); ++i)
      CHECK(values[0][i] == doctest::Approx(values[1][i]).epsilon(1e-11));
    for (std::size_t i = 0; i < g0.size(); ++i) CHECK(g0[i] == doctest::Approx(g1[i]).epsilon(1e-9));
  };
  const auto x = randn<double>({4, 5, 3});
  for (int axis : {0, 1, -1}) {
    same([=](const auto& t) { return softmax(t, axis); },
         [=](const auto& t) { return softmax_composition(t, axis); }, x);
    same([=](const auto& t) { return log_softmax(t, axis); },
         [=](const auto& t) { return log_softmax_composition(t, axis); }, x);
  }
  const auto w = randn<double>({6, 3}), b = randn<double>({6});
  for (Activation act : {Activation::identity, Activation::relu, Activation::gelu, Activation::silu,
                         Activation::gelu_tanh, Activation::tanh, Activation::sigmoid})
    same([&](const auto& t) { return linear(t, w, b, act); },
         [&](const auto& t) { return linear_composition(t, w, b, act); }, x);
  const auto labels = from_vector<index_t>({2, -100, 0, 1}), classes = from_vector<index_t>({2, 0, 0, 1});
  const auto kept = from_vector<double>({1, 0, 1, 1});
  same([&](const auto& t) { return cross_entropy(t, labels); },
       [&](const auto& t) { return cross_entropy_composition(t, classes, kept); },
       randn<double>({4, 3}));
  const auto target = randn<double>({4, 5, 3});
  same([&](const auto& t) { return relative_l2(t, target); },
       [&](const auto& t) { return relative_l2_composition(t, target); }, x);
  same([&](const auto& t) { return relative_l1(t, target); },
       [&](const auto& t) { return relative_l1_composition(t, target); }, x);
}

TEST_CASE("sizes and positions that do not exist are refused") {
  const auto x = arange<double>(0, 3);
  CHECK(x[-1].item() == 2);
  CHECK_THROWS_AS(x[-4], Error);
  CHECK_THROWS_AS(x[3], Error);
  CHECK_THROWS_AS(unsqueeze(x, 9), Error);
  CHECK_THROWS_AS(unsqueeze(x, -3), Error);
  CHECK_THROWS_AS(zeros<double>({index_t{1} << 61}), Error);
  CHECK_THROWS_AS(zeros<float>({index_t{1} << 32, index_t{1} << 32}), Error);
}
