// Causal linear attention as one operation on the GPU, against the composition on the CPU in
// double.
#include "compare.hpp"
#include "flr/mixers/causal_linear.hpp"
#include "flr/mixers/feature_map.hpp"

using namespace cuda_test;

namespace {

struct Case {
  index_t B, H, N, E, D;
  mixers::FeatureMap map = mixers::FeatureMap::elu;
  bool normalize = true, hide = false;

  std::string text() const {
    return fmt::format("causal linear B{} H{} N{} E{} D{} {}{}{}", B, H, N, E, D,
                       mixers::name_of(map), normalize ? " normalized" : "", hide ? " hide" : "");
  }
  Tensor<std::uint8_t> keep() const {
    if (!hide) return {};
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(B * N));
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = i % 5 != 1;
    return from_vector(kept, {B, N});
  }
};

/// Tokens as a network has them, [B,N,H·D] in memory.
template <class T>
Tensor<T> heads(const Tensor<T>& x, index_t H) {
  return nn::split_heads(x, H);
}

template <class T>
Tensor<T> composition(const Case& c, const std::vector<Tensor<T>>& t) {
  const mixers::FeatureMapLayer<compute_t<T>> map(c.map, c.E);
  Tensor<std::uint8_t> keep = c.keep();
  if (keep.defined()) keep = keep.to(t[0].device());
  const Tensor<T> k = nn::hide_padding("causal_linear", map(heads(t[1], c.H)), keep);
  const Tensor<T> q = map(heads(t[0], c.H)), v = heads(t[2], c.H);
  // Over all pairs, in T throughout: the library's own composition computes bf16 in float.
  const Tensor<T> weights =
      matmul(q, transpose(k, -1, -2)) * mixers::lower_triangle<T>(c.N, t[0].device());
  const Tensor<T> sums = matmul(weights, v);
  return nn::merge_heads(c.normalize ? sums / (sum(weights, {3}, true) + 1e-3) : sums * 0.7).contiguous();
}

/// The one operation where there is one; on the CPU and in double the composition.
template <class T>
Tensor<T> in_one(const Case& c, const std::vector<Tensor<T>>& t) {
  if (t[0].device().is_cpu() || std::same_as<T, double>) return composition(c, t);
  FusedCausalLinear o{.scale = 0.7, .normalize = c.normalize, .epsilon = 1e-3};
  o.feature = *mixers::fused_feature(c.map);
  if (c.hide) o.keep = c.keep().to(t[0].device());
  const Tensor<T> y = causal_linear(heads(t[0], c.H), heads(t[1], c.H), heads(t[2], c.H), o);
  REQUIRE(y.defined());
  return nn::merge_heads(y).contiguous();
}

void check_case(const Case& c) {
  const auto f = [=](const auto& t) { return in_one(c, t); };
  const auto plain = [=](const auto& t) { return composition(c, t); };
  compare_with_plain(
      c.text(), f, plain,
      {draw({c.B, c.N, c.H * c.E}), draw({c.B, c.N, c.H * c.E}), draw({c.B, c.N, c.H * c.D})},
      Rule{.float_tolerance = 2e-5});
}

}  // namespace

TEST_CASE("cuda causal linear attention: lengths and widths") {
  manual_seed(21);
  for (const index_t N : {1, 31, 33, 64, 65, 200})
    for (const auto& [E, D] :
         {std::pair<index_t, index_t>{16, 16}, {2, 3}, {8, 24}, {64, 64}, {33, 40}})
      if (!small() || N == 65) check_case({1, 2, N, E, D});
  check_case({2, 3, 70, 32, 32});
}

TEST_CASE("cuda causal linear attention: segments") {
  manual_seed(22);
  check_case({1, 1, small() ? 300 : 3000, 16, 16});
  check_case({1, 600, 130, 4, 4});   // two segments of a head, the first of two tiles
  check_case({1, 1200, 130, 4, 4});  // a head in one piece
  if (small()) return;
  check_case({2, 8, 1025, 32, 32});
  check_case({1, 1, 9000, 8, 8});
}

TEST_CASE("cuda causal linear attention: features, masks, a scale instead of weights") {
  manual_seed(23);
  using enum mixers::FeatureMap;
  for (const auto map : {relu, relu_squared, silu, elu, sigmoid})
    check_case({2, 2, 100, 16, 8, map, true, true});
  check_case({2, 2, 150, 16, 16, identity, false, false});
  check_case({1, 2, 65, 9, 5, identity, false, true});
}

TEST_CASE("cuda causal linear attention: gradients add up where q, k and v are one tensor") {
  manual_seed(24);
  const Case c{2, 2, 90, 16, 16};
  const auto f = [=](const auto& t) { return in_one(c, std::vector{t[0], t[0], t[0]}); };
  const auto plain = [=](const auto& t) { return composition(c, std::vector{t[0], t[0], t[0]}); };
  compare_with_plain("one tensor", f, plain, {draw({2, 90, 32})}, Rule{.float_tolerance = 2e-5});
}

TEST_CASE("cuda causal linear attention: what has no kernel takes the composition") {
  manual_seed(25);
  const auto wide = randn<float>({1, 1, 20, 65}, Device::cuda);
  CHECK(!causal_linear(wide, wide, wide).defined());
  const auto exact = randn<double>({1, 1, 20, 16}, Device::cuda);
  CHECK(!causal_linear(exact, exact, exact).defined());
  CHECK(mixers::causal_linear_attention(wide, wide, wide).shape() == wide.shape());
  const auto x = randn<float>({2, 1, 20, 16}, Device::cuda);
  const FusedCausalLinear o{.keep = ones<std::uint8_t>({3, 20}).to(Device::cuda)};
  CHECK_THROWS_WITH_AS(causal_linear(x, x, x, o),
                       doctest::Contains("[causal_linear] expected a contiguous keep-mask"), Error);
}
