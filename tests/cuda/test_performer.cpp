// The performer's attention as one operation on the GPU, against the composition on the CPU in double.
#include "compare.hpp"
#include "flr/mixers.hpp"

using namespace cuda_test;

namespace {

struct Case {
  index_t B, H, N, D, R;
  bool hide = false;
  mixers::FavorOptions favor = {};

  std::string text() const {
    return fmt::format("performer B{} H{} N{} D{} R{}{}", B, H, N, D, R, hide ? " hide" : "");
  }
  Tensor<std::uint8_t> keep(Device device) const {
    if (!hide) return {};
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(B * N));
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = i % 5 != 1;
    return from_vector(kept, {B, N}).to(device);
  }
};

FusedPerformer fused_options(index_t D, index_t R) {
  return {.factor = mixers::favor_factor(D, {}), .scale = 1 / std::sqrt(static_cast<double>(R)), .offset = 1e-6};
}

/// q, k, v [B,N,H·D] and rows; in bf16 on the GPU the one operation.
void check_case(const Case& c) {
  const auto tokens = [&] { return draw({c.B, c.N, c.H * c.D}); };
  const auto f = [=](const auto& t) {
    using T = typename std::remove_cvref_t<decltype(t[0])>::value_type;
    const auto heads = [&](std::size_t i) { return nn::split_heads(t[i], c.H); };
    const auto rows = t[3].template to<compute_t<T>>();
    if (std::same_as<T, bf16> && !t[0].device().is_cpu()) {
      const NoGrad scope;
      REQUIRE(fused_performer(heads(0), heads(1), heads(2), rows, fused_options(c.D, c.R)).defined());
    }
    return mixers::performer(heads(0), heads(1), heads(2), rows, c.favor, c.keep(t[0].device()))
        .contiguous();
  };
  // Features rounded to bf16 as well; the composition keeps them in float.
  const auto plain = [=](const auto& t) {
    using T = typename std::remove_cvref_t<decltype(t[0])>::value_type;
    const auto heads = [&](std::size_t i) { return nn::split_heads(t[i], c.H); };
    const auto rows = t[3].template to<compute_t<T>>();
    const auto keep = c.keep(t[0].device());
    const Tensor<T> q = mixers::favor_queries(heads(0), rows, c.favor).template to<T>();
    const Tensor<T> k = nn::hide_padding("performer", mixers::favor_keys(heads(1), rows, c.favor, keep), keep)
                            .template to<T>();
    const Tensor<T> y = matmul(q, matmul(transpose(k, -1, -2), heads(2)));
    return map(_1 / (_2 + 1e-6), y, matmul(q, transpose(sum(k, {2}, true), -1, -2))).contiguous();
  };
  compare<bf16>(c.text(), f, plain, {tokens(), tokens(), tokens(), draw({c.H, c.R, c.D})},
                {.differentiable = 3});
}

}  // namespace

TEST_CASE("cuda performer: lengths, widths, numbers of features") {
  manual_seed(51);
  for (const index_t N : {2, 15, 16, 17, 130}) check_case({1, 2, N, 16, 32});
  for (const index_t D : {8, 16, 32, 64}) check_case({2, 3, 70, D, 48});
  for (const index_t R : {16, 112, 256, 272, 512}) check_case({1, 2, 70, 16, R});
  if (small()) return;
  check_case({2, 8, 2000, 16, 256});
  check_case({1, 2, 40'000, 16, 64});
}

TEST_CASE("cuda performer: hidden keys, inputs as they are") {
  manual_seed(52);
  check_case({3, 2, 130, 16, 64, true});
  check_case({1, 2, 70, 8, 32, true, {.normalize_inputs = false, .epsilon = 1e-2}});
}

TEST_CASE("cuda performer: the same bits every time; gradients that add up") {
  manual_seed(53);
  const auto x = draw({2, 1000, 64}).to<bf16>().to(Device::cuda);
  const auto rows = mixers::favor_rows<float>(4, 256, 16).to(Device::cuda);
  const auto run = [&](int times) {
    auto leaf = x.clone().requires_grad(true);
    for (int i = 0; i < times; ++i) {
      const auto h = nn::split_heads(leaf, 4);
      backward(sum(mixers::performer(h, h, h, rows).to<float>()));
    }
    return doubles(leaf.grad());
  };
  const auto once = run(1);
  CHECK(run(1) == once);
  auto twice = once;
  for (double& g : twice) g *= 2;
  CHECK(relative(run(2), twice) < 1e-2);
}

TEST_CASE("cuda performer: what has no kernel takes the composition") {
  const auto heads = [](index_t d) { return randn<float>({1, 2, 5, d}).to<bf16>().to(Device::cuda); };
  const auto rows = [](index_t r, index_t d) { return randn<float>({2, r, d}, Device::cuda); };
  const auto fused = [&](index_t r, index_t d) {
    return fused_performer(heads(d), heads(d), heads(d), rows(r, d), fused_options(d, r)).defined();
  };
  CHECK(fused(32, 16));
  CHECK(!fused(32, 12));
  CHECK(!fused(24, 16));
  auto learned = rows(32, 16).requires_grad(true);
  CHECK(!fused_performer(heads(16), heads(16), heads(16), learned, {}).defined());
}
