// FAVOR+ features as one operation on the GPU, against the composition on the CPU in double; mixers
// whose heads stay in bf16 there.
#include "compare.hpp"
#include "flr/mixers.hpp"

using namespace cuda_test;

namespace {

struct Case {
  index_t B, H, N, D, R;
  bool keys = true, hide = false;
  mixers::FavorOptions favor = {};

  std::string text() const {
    return fmt::format("favor {} B{} H{} N{} D{} R{}{}{}", keys ? "keys" : "queries", B, H, N, D, R,
                       hide ? " hide" : "", favor.legacy ? " legacy" : "");
  }
  /// The second sample has nothing else.
  Tensor<std::uint8_t> keep(Device device) const {
    if (!hide) return {};
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(B * N));
    for (std::size_t i = 0; i < kept.size(); ++i)
      kept[i] = i % 5 != 1 && i / static_cast<std::size_t>(N) != 1;
    return from_vector(kept, {B, N}).to(device);
  }
};

/// Tokens [B,N,H·D] and rows, to features; on the GPU the one operation, but in double.
template <class T>
Tensor<compute_t<T>> features(const Case& c, const std::vector<Tensor<T>>& t) {
  const Tensor<T> x = nn::split_heads(t[0], c.H);
  const Tensor<compute_t<T>> rows = t[1].template to<compute_t<T>>();
  const auto keep = c.keep(x.device());
  if (!x.device().is_cpu() && !std::same_as<T, double>)
    REQUIRE(mixers::detail::favor_in_one(x.detach(), rows, c.favor, c.keys).defined());
  return c.keys ? mixers::favor_keys(x, rows, c.favor, keep)
                : mixers::favor_queries(x, rows, c.favor);
}

void check_case(const Case& c) {
  compare_all(
      c.text(), [=](const auto& t) { return features(c, t); },
      {draw({c.B, c.N, c.H * c.D}), draw({c.H, c.R, c.D})}, 1, 2e-5);
}

/// A module with the same weights in double on the CPU and in float on the GPU, there on bf16.
template <template <class> class M, class Options>
void check_layer(const std::string& what, const Options& o, index_t channels,
                 double allowed = 2e-2) {
  CAPTURE(what);
  manual_seed(46);
  M<double> exact(o);
  manual_seed(46);
  M<float> rounded(o);
  const auto weights = exact.parameters();
  for (std::size_t i = 0; i < weights.size(); ++i)
    rounded.parameters()[i].value.copy_(weights[i].value.detach().template to<float>());
  for (std::size_t i = 0; i < exact.buffers().size(); ++i)
    rounded.buffers()[i].value.copy_(exact.buffers()[i].value.template to<float>());
  rounded.to(Device::cuda);
  const auto x = draw({2, 70, channels}).to<bf16>();
  const auto f = [&](const auto& module, const auto& input, const auto& seed) {
    auto leaf = input.clone().requires_grad(true);
    const auto y = module(leaf);
    backward(y, seed);
    return std::pair{doubles(y), doubles(leaf.grad())};
  };
  const auto seed = draw({2, 70, channels}).to<bf16>();
  const auto expected = f(exact, x.to<double>(), seed.to<double>());
  const auto got = f(rounded, x.to(Device::cuda), seed.to(Device::cuda));
  CHECK(relative(got.first, expected.first) < allowed);
  CHECK(relative(got.second, expected.second) < 2 * allowed);
}

}  // namespace

TEST_CASE("cuda favor: lengths, widths, numbers of features") {
  manual_seed(41);
  for (const bool keys : {false, true}) {
    for (const index_t N : {1, 7, 64, 65, 130}) check_case({1, 2, N, 5, 33, keys});
    for (const index_t D : {1, 8, 16, 17, 64}) check_case({2, 3, 70, D, 20, keys});
    for (const index_t R : {1, 64, 65, 129, 256, 300, 513}) check_case({1, 2, 70, 6, R, keys});
    if (small()) continue;
    check_case({2, 8, 3000, 16, 256, keys});
    check_case({1, 300, 200, 8, 40, keys});
  }
}

TEST_CASE("cuda favor: rows that do not fit in shared memory together") {
  manual_seed(42);
  for (const bool keys : {false, true}) {
    check_case({1, 1, small() ? 10 : 300, 128, 256, keys});
    check_case({1, 2, small() ? 3 : 300, 35, 1024, keys});
  }
}

TEST_CASE("cuda favor: hidden tokens, legacy, inputs as they are") {
  manual_seed(43);
  check_case({3, 2, 130, 8, 40, true, true});
  for (const bool keys : {false, true}) {
    check_case({3, 2, 70, 8, 40, keys, true, {.legacy = true}});
    check_case({1, 2, 70, 4, 40, keys, false, {.normalize_inputs = false, .epsilon = 1e-2}});
  }
}

TEST_CASE("cuda favor: a maximum that is attained several times; gradients that add up") {
  manual_seed(44);
  for (const bool keys : {false, true}) {
    const Case c{2, 2, 90, 3, 70, keys, false, {.normalize_inputs = false}};
    compare_all(
        c.text() + ", ties",
        [=](const auto& t) {
          return features(c, std::vector{t[0], t[1]}) * 2 + features(c, std::vector{t[0], t[1]});
        },
        {map(_1 > 0.5, draw({2, 90, 6})), map(_1 > 0.3, draw({2, 70, 3}))}, 1, 2e-5);
  }
}

TEST_CASE("cuda favor: the performer") {
  manual_seed(45);
  for (const bool hide : {false, true}) {
    const Case c{2, 2, small() ? 60 : 500, 8, 64, true, hide};
    compare_all(
        hide ? "performer, hide" : "performer",
        [=](const auto& t) {
          using T = typename std::remove_cvref_t<decltype(t[0])>::value_type;
          const auto heads = [&](std::size_t i) { return nn::split_heads(t[i], c.H); };
          return mixers::performer(heads(0), heads(1), heads(2), t[3].template to<compute_t<T>>(),
                                   {}, c.keep(t[0].device()))
              .contiguous();
        },
        {draw({2, c.N, 16}), draw({2, c.N, 16}), draw({2, c.N, 16}), draw({2, 64, 8})}, 3, 5e-5);
  }
}

TEST_CASE("cuda favor: what has no kernel takes the composition") {
  const auto wide = randn<float>({1, 1, 5, 129}, Device::cuda),
             x = randn<float>({2, 1, 5, 8}, Device::cuda);
  CHECK(!fused_favor(wide, randn<float>({1, 4, 129}, Device::cuda)).defined());
  CHECK(!fused_favor(x, randn<float>({1, 1025, 8}, Device::cuda)).defined());
  auto rows = randn<float>({1, 4, 8}, Device::cuda);
  CHECK(fused_favor(x, rows).defined());
  CHECK_THROWS_WITH_AS(
      fused_favor(x, rows,
                  {.shared_maximum = true, .keep = ones<std::uint8_t>({3, 5}).to(Device::cuda)}),
      doctest::Contains("[favor] expected a contiguous keep-mask"), Error);
  rows.requires_grad(true);
  CHECK(!fused_favor(x, rows).defined());
}

TEST_CASE("cuda layers on bf16, whose heads stay as they are") {
  using namespace mixers;
  check_layer<Performer>("performer", PerformerOptions{.channels = 32, .heads = 2}, 32);
  check_layer<Triple>("triple", ProjectedOptions{.channels = 32, .heads = 2}, 32);
  check_layer<Quad>("quad", ProjectedOptions{.channels = 16, .heads = 2}, 16);
  check_layer<Triple1>("triple1", Triple1Options{.channels = 32, .heads = 2}, 32);
  check_layer<StrassenLinear>("strassen_linear",
                              StrassenLinearOptions{{.channels = 32, .heads = 2}}, 32);
  check_layer<Multilinear>("multilinear", MultilinearOptions{{.channels = 32, .heads = 2}}, 32);
  for (const bool causal : {false, true})
    check_layer<LinearAttention>(
        "linear",
        LinearAttentionOptions{.channels = 32, .heads = 2, .norm_q = true, .causal = causal}, 32);
}
