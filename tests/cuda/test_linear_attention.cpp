// Linear attention as one operation on the GPU, against the composition on the CPU in double.
#include "compare.hpp"
#include "flr/core/precision.hpp"
#include "flr/mixers/linear.hpp"

using namespace cuda_test;

namespace {

struct Case {
  index_t B, H, Nq, Nk, D;
  mixers::FeatureMap map = mixers::FeatureMap::elu;
  bool hide = false, unit = false;

  std::string text() const {
    return fmt::format("linear attention B{} H{} Nq{} Nk{} D{} {}{}{}", B, H, Nq, Nk, D,
                       mixers::name_of(map), hide ? " hide" : "", unit ? " unit" : "");
  }
  Tensor<std::uint8_t> keep() const {
    if (!hide) return {};
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(B * Nk));
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = i % 5 != 1;
    return from_vector(kept, {B, Nk});
  }
  /// Tokens as a network has them, [B,N,H·D] in memory; a mean keeps weights of signed features from 0.
  std::vector<Tensor<double>> inputs() const {
    return {draw({B, Nq, H * D}) + 1.0, draw({B, Nk, H * D}) + 1.0, draw({B, Nk, H * D})};
  }
};

constexpr double epsilon = 1e-3;

/// In products and sums of the whole.
template <class T>
Tensor<T> composition(const Case& c, const std::vector<Tensor<T>>& t) {
  const mixers::FeatureMapLayer<compute_t<T>> map(c.map, c.D);
  Tensor<std::uint8_t> keep = c.keep();
  if (keep.defined()) keep = keep.to(t[0].device());
  const auto features = [&](const Tensor<T>& x) {
    const Tensor<T> f = map(nn::split_heads(x, c.H));
    return c.unit ? mixers::unit_vectors(f) : f;
  };
  const Tensor<T> q = features(t[0]), v = nn::split_heads(t[2], c.H);
  const Tensor<T> k = nn::hide_padding("test", features(t[1]), keep);
  const Tensor<T> y = matmul(q, matmul(transpose(k, -1, -2), v));
  const Tensor<T> weight = matmul(q, transpose(sum(k, {2}, true), -1, -2));
  return nn::merge_heads(flr::map(_1 / (_2 + epsilon), y, weight)).contiguous();
}
template <class T>
Tensor<T> in_one(const Case& c, const std::vector<Tensor<T>>& t) {
  if (t[0].device().is_cpu() || std::same_as<T, double>) return composition(c, t);
  FusedLinearAttention o{.epsilon = epsilon};
  o.feature = *mixers::fused_feature(c.map);
  o.unit_q = o.unit_k = c.unit;
  if (c.hide) o.keep = c.keep().to(t[0].device());
  const Tensor<T> y = fused_linear_attention(nn::split_heads(t[0], c.H), nn::split_heads(t[1], c.H),
                                             nn::split_heads(t[2], c.H), o);
  REQUIRE(y.defined());
  return nn::merge_heads(y).contiguous();
}

void check_case(const Case& c) {
  compare_with_plain(
      c.text(), [=](const auto& t) { return in_one(c, t); },
      [=](const auto& t) { return composition(c, t); }, c.inputs(), Rule{.float_tolerance = 1e-5});
}

}  // namespace

TEST_CASE("cuda linear attention: lengths and widths") {
  manual_seed(31);
  for (const index_t N : {1, 31, 33, 1025})
    for (const index_t D : {8, 16, 24, 32, 40, 64})
      if (!small() || N == 33) check_case({1, 3, N, N, D});
  check_case({2, 5, 20, 70, 16, mixers::FeatureMap::elu, true});
  check_case({2, 2, 70, 20, 64, mixers::FeatureMap::elu, true});
}

TEST_CASE("cuda linear attention: several splits and tiles") {
  manual_seed(32);
  if (!small()) check_case({1, 2, 100'003, 100'003, 16});
  if (!small()) check_case({1, 2, 20'000, 20'001, 64, mixers::FeatureMap::elu, true});
  check_case({3, small() ? 8 : 300, 200, 200, 8, mixers::FeatureMap::elu, true});
}

TEST_CASE("cuda linear attention: features") {
  manual_seed(33);
  using enum mixers::FeatureMap;
  for (const auto map : {identity, relu, relu_squared, silu, elu, sigmoid, tanh, softplus, softsign,
                         exp, gelu})
    check_case({1, 2, 100, 100, 16, map, true});
}

TEST_CASE("cuda linear attention: features of length 1") {
  manual_seed(35);
  for (const index_t D : {8, 16, 24, 32})
    for (const auto map : {mixers::FeatureMap::identity, mixers::FeatureMap::elu})
      check_case({2, 3, 130, 100, D, map, true, true});
}

TEST_CASE("cuda linear attention: gradients add up where q, k and v are one tensor") {
  manual_seed(34);
  const Case c{2, 4, 90, 90, 16};
  const auto f = [=](const auto& t) { return in_one(c, std::vector{t[0], t[0], t[0]}); };
  const auto plain = [=](const auto& t) { return composition(c, std::vector{t[0], t[0], t[0]}); };
  compare_with_plain("one tensor", f, plain, {draw({2, 90, 64})}, Rule{.float_tolerance = 1e-5});
}

TEST_CASE("cuda linear attention: tf32") {
  manual_seed(35);
  const Case c{1, 4, 500, 500, 32};
  set_matmul_precision(MatmulPrecision::tf32);
  compare<float>(
      c.text(), [=](const auto& t) { return in_one(c, t); },
      [=](const auto& t) { return composition(c, t); }, c.inputs(), Rule{.tf32 = true});
  set_matmul_precision(MatmulPrecision::fp32);
}

TEST_CASE("cuda linear attention: what has no kernel takes the composition") {
  const auto odd = ones<float>({1, 2, 20, 12}, Device::cuda);
  CHECK(!fused_linear_attention(odd, odd, odd).defined());
  CHECK(mixers::linear_attention(odd, odd, odd).shape() == odd.shape());
  const auto exact = ones<double>({1, 2, 20, 16}, Device::cuda);
  CHECK(!fused_linear_attention(exact, exact, exact).defined());
  const auto x = ones<float>({2, 1, 20, 16}, Device::cuda);
  const FusedLinearAttention o{.keep = ones<std::uint8_t>({3, 20}).to(Device::cuda)};
  CHECK_THROWS_WITH_AS(fused_linear_attention(x, x, x, o),
                       doctest::Contains("[linear_attention] expected a contiguous keep-mask"), Error);
}
