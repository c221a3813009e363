// Mixers that are linear in the number of tokens: gradients, padding, bf16, and what each is for.
#include <doctest/doctest.h>

#include "flr/flr.hpp"
#include "mixer_checks.hpp"

using namespace flr;
using mixers::FeatureMap;

namespace {

template <template <class> class M, class Options>
auto maker(const Options& o) {
  return [o](auto scalar) { return std::make_unique<M<decltype(scalar)>>(o); };
}

/// A mixer with rotary positions of its own.
template <template <class> class M, class Options>
auto turned_maker(const Options& o) {
  return [o](auto scalar) {
    using T = decltype(scalar);
    struct Turned : M<T> {
      explicit Turned(const Options& options) : M<T>(options, &rotary), rotary(24, 4) {}
      nn::Rotary<T> rotary;
    };
    return std::make_unique<Turned>(o);
  };
}

constexpr index_t C = 8;

}  // namespace

TEST_CASE("every mixer: gradients, padding and bf16") {
  check_mixer("linformer", C,
              maker<mixers::Linformer, mixers::LinformerOptions>(
                  {.channels = C, .heads = 2, .max_length = 24, .projected = 3}), false);
  check_mixer("linformer, shared, legacy", C,
              maker<mixers::Linformer, mixers::LinformerOptions>(
                  {.channels = C, .heads = 2, .max_length = 24, .projected = 3, .share_kv = true,
                   .legacy = true}), false);
  check_mixer("performer", C,
              maker<mixers::Performer, mixers::PerformerOptions>(
                  {.channels = C, .heads = 2, .features = 6}));
  check_mixer("performer, legacy", C,
              maker<mixers::Performer, mixers::PerformerOptions>(
                  {.channels = C, .heads = 2, .features = 6, .favor = {.legacy = true}}));
  check_mixer("cosformer", C,
              maker<mixers::Cosformer, mixers::CosformerOptions>({.channels = C, .heads = 2}));
  check_mixer("linear_no", C,
              maker<mixers::LinearNo, mixers::LinearNoOptions>({.channels = C, .heads = 2}));
  check_mixer("flare_plus_plus", C,
              maker<mixers::FlarePlusPlus, mixers::FlarePlusPlusOptions>(
                  {.channels = C, .heads = 2, .latents = 3}));
  check_mixer("flare_plus_plus, rms, first version", C,
              maker<mixers::FlarePlusPlus, mixers::FlarePlusPlusOptions>(
                  {.channels = C, .heads = 2, .latents = 3, .norm = nn::NormKind::rms,
                   .first_version = true}));
  check_mixer("luna", C,
              maker<mixers::Luna, mixers::LunaOptions>(
                  {.channels = C, .heads = 2, .latents = 3, .qk_norm = true, .own_packed = true}));
}

TEST_CASE("mixers with rotary positions") {
  check_mixer("linformer", C,
              turned_maker<mixers::Linformer, mixers::LinformerOptions>(
                  {.channels = C, .heads = 2, .max_length = 24, .projected = 3}), false);
  // Positions are counted from the first place, so padding in front would move them.
  const auto linear = turned_maker<mixers::LinearAttention, mixers::LinearAttentionOptions>(
      {.channels = C, .heads = 2});
  check_mixer("linear", C, linear, false);
  const auto performer = turned_maker<mixers::Performer, mixers::PerformerOptions>(
      {.channels = C, .heads = 2, .features = 6});
  check_mixer("performer", C, performer, false);

  // Without positions a mixer does not know the order of the other tokens; with them it does.
  manual_seed(12);
  const auto x = randn<double>({1, 5, C});
  const auto swapped = index_select(x, 1, {0, 2, 1, 3, 4});
  const auto moved = [&](const auto& m) {
    const auto first = [&](const auto& t) { return slice(m(t), 1, 0, 1).clone(); };
    return largest_difference(first(x), first(swapped));
  };
  CHECK(moved(mixers::LinearAttention<double>({.channels = C, .heads = 2})) < 1e-14);
  CHECK(moved(*linear(double{})) > 1e-3);
  CHECK(moved(*performer(double{})) > 1e-3);
}

TEST_CASE("linear attention with every feature map") {
  for (int i = 0; i <= static_cast<int>(FeatureMap::hedgehog); ++i) {
    const auto kernel = static_cast<FeatureMap>(i);
    // Denominators of maps without a sign may vanish; unit vectors keep them away from that here.
    const bool any_sign = kernel == FeatureMap::identity || kernel == FeatureMap::tanh ||
                          kernel == FeatureMap::softsign || kernel == FeatureMap::sin ||
                          kernel == FeatureMap::hadamard || kernel == FeatureMap::swiglu ||
                          kernel == FeatureMap::gelu;
    const std::string name(name_of(kernel));
    CAPTURE(name);
    CHECK(mixers::feature_map_named(name) == kernel);
    mixers::LinearAttentionOptions o{.channels = C, .heads = 2, .kernel = kernel, .norm_k = any_sign};
    manual_seed(21);
    auto module = mixers::LinearAttention<double>(o);
    if (any_sign) {
      const auto f = mixers::FeatureMapLayer<double>(kernel, 4);
      CHECK(gradcheck([&](const auto& x) { return f(x[0]); }, {randn<double>({2, 3, 4})}));
    } else {
      check_mixer(name, C,
                  maker<mixers::LinearAttention, mixers::LinearAttentionOptions>(o));
    }
    check_padding(C, [&](const auto& x, const auto& keep) { return module(x, keep); });
  }
  CHECK_THROWS_WITH_AS(mixers::feature_map_named("elou"), doctest::Contains("elu_norm"), Error);
}

TEST_CASE("linear attention is the normalised product of its features") {
  manual_seed(22);
  const auto q = rand<double>({2, 2, 6, 3}), k = rand<double>({2, 2, 6, 3}), v = randn<double>({2, 2, 6, 4});
  const auto w = matmul(q, transpose(k, -1, -2));
  const auto expected = matmul(w / (sum(w, {-1}, true) + 1e-6), v);
  CHECK(largest_difference(mixers::linear_attention(q, k, v), expected) < 1e-14);
}

TEST_CASE("feature maps have the values of their definitions") {
  const std::vector<double> x{-2, -0.5, 0, 1.5};
  const auto value = [&](FeatureMap kind) {
    return mixers::FeatureMapLayer<double>(kind, 4)(from_vector(x, {1, 4})).to_vector();
  };
  for (std::size_t i = 0; i < 4; ++i) {
    const double t = x[i], sigmoid = 1 / (1 + std::exp(-t)), plus = std::max(t, 0.0);
    const double elu1 = t > 0 ? t + 1 : std::exp(t), u = t / std::sqrt(6.5);
    CHECK(value(FeatureMap::relu_squared)[i] == doctest::Approx(plus * plus));
    CHECK(value(FeatureMap::silu)[i] == doctest::Approx(t * sigmoid + 0.5));
    CHECK(value(FeatureMap::elu)[i] == doctest::Approx(elu1));
    CHECK(value(FeatureMap::elu_norm)[i] == doctest::Approx(u > 0 ? u + 1 : std::exp(u)));
    CHECK(value(FeatureMap::softplus)[i] == doctest::Approx(std::log1p(std::exp(t)) + 1e-6));
    CHECK(value(FeatureMap::softsign)[i] == doctest::Approx(t / (1 + std::abs(t))));
    CHECK(value(FeatureMap::exp)[i] == doctest::Approx(std::exp(t)));
  }
  const auto cut = mixers::FeatureMapLayer<double>(FeatureMap::exp, 1)(from_vector<double>({99}, {1}));
  CHECK(cut.item() == doctest::Approx(std::exp(30.0)));
}

TEST_CASE("hedgehog starts at the identity and keeps that through a model's initialiser") {
  manual_seed(23);
  mixers::FeatureMapLayer<double> map(FeatureMap::hedgehog, 3);
  nn::init_flare(map);
  const auto x = randn<double>({5, 3});
  const auto expected = softmax(concat<double>({x * 2.0, x * -2.0}, -1), -1);
  CHECK(largest_difference(map(x), expected) < 1e-15);
}

TEST_CASE("linformer is softmax attention on projected tokens, and slices to the length it gets") {
  manual_seed(24);
  const auto q = randn<double>({1, 2, 5, 4}), k = randn<double>({1, 2, 5, 4}), v = randn<double>({1, 2, 5, 4});
  const auto e = randn<double>({9, 3}), f = randn<double>({9, 3});
  const auto rows = [](const auto& t) { return transpose(slice(t, 0, 0, 5), 0, 1); };
  const auto expected = sdpa_composition(q, matmul(rows(e), k), matmul(rows(f), v));
  CHECK(largest_difference(mixers::linformer(q, k, v, e, f), expected) < 1e-13);
  CHECK_THROWS_WITH_AS(mixers::linformer(q, k, v, slice(e, 0, 0, 4), f),
                       doctest::Contains("got 5 tokens, the projections were made for at most 4"), Error);
}

TEST_CASE("FAVOR+ rows: orthogonal in blocks of D, with the lengths of Gaussian vectors") {
  manual_seed(25);
  const index_t d = 8, r = 20;
  const auto w = mixers::favor_rows<double>(200, r, d);
  const auto gram = matmul(w, transpose(w, -1, -2));
  double squares = 0, fourth = 0;
  for (index_t h = 0; h < 200; ++h)
    for (index_t i = 0; i < r; ++i) {
      const double length = gram.at(h, i, i);
      squares += length, fourth += length * length;
      for (index_t j = 0; j < i; ++j)
        if (i / d == j / d) CHECK(std::abs(gram.at(h, i, j)) < 1e-12 * length + 1e-12);
    }
  // ‖ω‖² is χ² with D degrees of freedom: mean D, second moment D² + 2D.
  CHECK(squares / (200 * r) == doctest::Approx(d).epsilon(0.03));
  CHECK(fourth / (200 * r) == doctest::Approx(d * d + 2 * d).epsilon(0.06));
  const auto legacy = mixers::favor_rows<double>(2, 5, d, true);
  for (double s : sum(square(legacy), {-1}).to_vector()) CHECK(s == doctest::Approx(1));
}

TEST_CASE("FAVOR+ features estimate the softmax kernel without bias, with less variance if orthogonal") {
  manual_seed(26);
  const index_t d = 8, r = 8, draws = 4000;
  const auto q = randn<double>({1, 1, 1, d}), k = randn<double>({1, 1, 1, d});
  const double exact = std::exp(sum(q * k).item() / std::sqrt(8.0));
  const auto estimate = [&](const Tensor<double>& rows, double& mean, double& variance) {
    const auto many = [&](const auto& x) {
      return mixers::favor_exponents(broadcast_to(x, {1, draws, 1, d}).clone(), rows);
    };
    const auto kernel = flr::mean(exp(many(q) + many(k)), {-1});
    mean = flr::mean(kernel).item(), variance = flr::variance(kernel).item();
  };
  double mean = 0, orthogonal = 0, independent = 0, legacy = 0, unused = 0;
  estimate(mixers::favor_rows<double>(draws, r, d), mean, orthogonal);
  CHECK(std::abs(mean - exact) < 4 * std::sqrt(orthogonal / draws));
  estimate(randn<double>({draws, r, d}), mean, independent);
  CHECK(std::abs(mean - exact) < 4 * std::sqrt(independent / draws));
  CHECK(orthogonal < 0.9 * independent);
  estimate(mixers::favor_rows<double>(draws, r, d, true), legacy, unused);
  CHECK(std::abs(legacy - exact) > 20 * std::sqrt(unused / draws));  // rows of length 1 are another kernel
}

TEST_CASE("Performer approaches softmax attention as its features grow; the reference's does not") {
  manual_seed(27);
  const auto q = randn<double>({1, 4, 30, 8}) * 0.7, k = randn<double>({1, 4, 30, 8}) * 0.7;
  const auto v = randn<double>({1, 4, 30, 8}), exact = sdpa(q, k, v);
  const auto error = [&](index_t features, bool legacy) {
    double total = 0;
    for (int i = 0; i < 4; ++i) {
      const auto rows = mixers::favor_rows<double>(4, features, 8, legacy);
      total += sum(square(mixers::performer(q, k, v, rows, {.legacy = legacy}) - exact)).item();
    }
    return std::sqrt(total / 4 / sum(square(exact)).item());
  };
  const double few = error(256, false), many = error(4096, false);
  INFO(few, ", ", many);
  CHECK(few < 0.5);
  CHECK(many < 0.5 * few);  // a quarter for large R, where the error falls as R^−½
  CHECK(error(4096, true) > 3 * many);
}

TEST_CASE("keys share one maximum: a factor common to all keys of a head changes nothing") {
  manual_seed(28);
  const auto k = randn<double>({2, 2, 5, 4}) * 10, rows = mixers::favor_rows<double>(2, 6, 4);
  const auto e = mixers::favor_exponents(k, rows), f = mixers::favor_keys(k, rows, {.epsilon = 0});
  const auto ratio = map(log(_1) - _2, f, e);  // one number for each sample and head
  CHECK(largest_difference(max(ratio, {2, 3}), -max(-ratio, {2, 3})) < 1e-10);
}

TEST_CASE("Performer's features are saved with the weights and redrawn between steps") {
  manual_seed(29);
  mixers::Performer<double> a({.channels = C, .heads = 2, .features = 6, .redraw_interval = 10});
  mixers::Performer<double> b({.channels = C, .heads = 2, .features = 6, .redraw_interval = 10});
  REQUIRE(a.buffers().size() == 1);
  CHECK(a.buffers()[0].name == "proj_matrix");
  const auto rows = [](const auto& m) { return m.buffers()[0].value.to_vector(); };
  const auto start = rows(a);
  const RandomState state = random_state();
  for (std::uint64_t step : {0, 1, 9}) a.begin_step(step);
  CHECK(rows(a) == start);
  a.begin_step(10);
  const auto ten = rows(a);
  CHECK(ten != start);
  CHECK(random_state() == state);  // nothing that a step draws moves
  a.begin_step(20);
  CHECK(rows(a) != ten);
  random_state().call += 3;
  a.begin_step(10);
  CHECK(rows(a) == ten);  // by seed, step and place alone: a resumed run draws the same
  b.begin_step(10);
  CHECK(rows(b) != ten);
}

TEST_CASE("cosFormer weighs keys by the cosine of their distance") {
  manual_seed(30);
  const index_t n = 7;
  const auto q = randn<double>({1, 1, n, 4}), k = randn<double>({1, 1, n, 4}), v = randn<double>({1, 1, n, 4});
  const auto y = mixers::cosformer(q, k, v);
  const auto fall = map(cos((_1 - _2) / static_cast<double>(n) * 1.5707963267948966),
                        reshape(arange<double>(0, n), {n, 1}), reshape(arange<double>(0, n), {1, n}));
  const auto w = matmul(relu(q), transpose(relu(k), -1, -2)) * fall;
  CHECK(largest_difference(y, matmul(w / (sum(w, {-1}, true) + 1e-6), v)) < 1e-12);
}

TEST_CASE("FLARE++ with a closed gate is FLARE with normed latents and keys") {
  manual_seed(31);
  mixers::FlarePlusPlus<double> m({.channels = C, .heads = 2, .latents = 3});
  nn::init_flare(m);
  CHECK(m.parameter("k_proj.weight").at(0, 0) > 0.8);  // its own start is kept
  nn::fill(m.gate_logit, -1e3);
  const auto x = randn<double>({2, 6, C});
  const auto linear = [&](const std::string& name, const auto& t) {
    return flr::linear(t, m.parameter(name + ".weight"), m.parameter(name + ".bias"));
  };
  const auto k = layer_norm(contiguous(nn::split_heads(linear("k_proj", x), 2)));
  const auto y = flare_mixer(layer_norm(m.latent_q_fixed), k, nn::split_heads(linear("v_proj", x), 2), 0.5);
  CHECK(largest_difference(m(x), linear("out_proj", nn::merge_heads(y))) < 1e-13);
}

TEST_CASE("Luna packs and unpacks, and says when it has no packed tokens") {
  manual_seed(32);
  const mixers::Luna<double> m({.channels = C, .heads = 2, .latents = 3});
  const auto x = randn<double>({2, 6, C}), p = randn<double>({2, 3, C});
  const auto y = m(x, p);
  CHECK(y.x.shape() == Shape{2, 6, C});
  CHECK(y.p.shape() == Shape{2, 3, C});
  CHECK_THROWS_WITH_AS(m(x), doctest::Contains("own_packed"), Error);
}

TEST_CASE("mixers say what does not fit") {
  CHECK_THROWS_WITH_AS(mixers::Cosformer<float>({.channels = 10, .heads = 3}),
                       doctest::Contains("10 channels do not divide into 3 heads"), Error);
  const mixers::LinearAttention<float> m({.channels = C, .heads = 2});
  CHECK_THROWS_WITH_AS(m(randn({2, 5, C}), ones<std::uint8_t>({2, 4})),
                       doctest::Contains("[linear_attention] expected a keep-mask [2 or 1, 5], got [2,4]"),
                       Error);
}

TEST_CASE("the model Luna carries its packed tokens from block to block") {
  manual_seed(33);
  models::LunaOptions o;
  o.channels = C, o.heads = 2, o.latents = 3, o.blocks = 2, o.qk_norm = true;
  models::Luna<double> model(o);
  check_gradients(model, randn<double>({2, 5, 2}), [&](const auto& x) { return model(x); });
  // Seven C×C layers, three norms and the MLP of ratio 2 in a block; projections as FLARE's.
  models::LunaOptions paper;
  const index_t c = 128, linear = c * c + c;
  const index_t block = 7 * linear + 3 * 2 * c + (2 * c * c + 2 * c) + (2 * c * c + c);
  CHECK(models::Luna<float>(paper).num_parameters() ==
        8 * block + 64 * c + (2 * c + c) + 3 * linear + 2 * c + 3 * linear + (c + 1));
  // The second block reads what the first one packed.
  const auto x = randn<double>({1, 5, 2}), before = model(x);
  nn::fill(model.parameter("blocks.0.att.pv_proj.bias"), 2);
  CHECK(largest_difference(model(x), before) > 1e-6);
  CHECK_THROWS_WITH_AS((model.set_recompute(models::Recompute::block), model(x)),
                       doctest::Contains("[luna]"), Error);
}
