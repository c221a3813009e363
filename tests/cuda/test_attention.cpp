// Attention on the GPU: the general kernels and FLARE's shapes, against the CPU in double.
#include "compare.hpp"
#include "flr/core/precision.hpp"

using namespace cuda_test;

namespace {

struct Shapes {
  index_t B, H, Nq, Nk, D, Dv;
};

template <class T>
Tensor<T> call(const std::vector<Tensor<T>>& x, double scale, bool causal, const Tensor<std::uint8_t>& keep) {
  SdpaOptions<T> o;
  o.scale = scale, o.causal = causal;
  if (keep.defined()) o.keep = keep.to(x[0].device());
  if (x.size() > 3) o.bias = x[3];
  return sdpa(x[0], x[1], x[2], o);
}

void check_sdpa(const Shapes& s, bool causal = false, bool keep = false, const Shape& bias = {},
                bool shared_q = false, bool shared_k = false) {
  std::vector<Tensor<double>> x{draw({shared_q ? 1 : s.B, s.H, s.Nq, s.D}),
                                draw({shared_k ? 1 : s.B, s.H, s.Nk, s.D}),
                                draw({s.B, s.H, s.Nk, s.Dv})};
  if (!bias.empty()) x.push_back(draw(bias));
  Tensor<std::uint8_t> mask;
  if (keep) {
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(s.B * s.Nk));
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = i * i % 5 != 1;
    if (s.B > 1) std::fill(kept.begin(), kept.begin() + s.Nk, std::uint8_t{0});  // sees nothing
    mask = from_vector(kept, {s.B, s.Nk});
  }
  compare_all(fmt::format("sdpa B{} H{} Nq{} Nk{} D{} Dv{}{}{}{}{}{}", s.B, s.H, s.Nq, s.Nk, s.D, s.Dv,
                          causal ? " causal" : "", keep ? " keep" : "", bias.empty() ? "" : " bias",
                          shared_q ? " shared q" : "", shared_k ? " shared k" : ""),
              [=](const auto& t) { return call(t, 1 / std::sqrt(double(s.D)), causal, mask); }, x, 99, 2e-5);
}

/// With one latent each token's softmax over the latents is the constant 1, and what it sends to the
/// scores, P ∘ (dP − Σ P dP), is a difference of equal numbers. This is the norm of one of the two,
/// carried on to the latents [H,1,D] and to the keys [B,N,H·D], as terms of those gradients. The
/// result y is then the same for all tokens, the latent's value, so that dP = dy·y. A tenth of it
/// counts: a sum of these terms carries some ten roundings of float, the tolerance is three hundred.
std::vector<double> one_latent_terms(const Tensor<double>& latents, const Tensor<double>& keys,
                                     const Tensor<double>& y) {
  const auto q = doubles(latents), k = doubles(keys), value = doubles(y);
  const std::size_t width = q.size(), D = std::size_t(latents.size(-1));
  double to_latents = 0, to_keys = 0;
  for (std::size_t at = 0; at < k.size(); at += D) {
    double score = 0, kk = 0, qq = 0;
    for (std::size_t d = 0; d < D; ++d) {
      score += seed_of(index_t(at + d)) * value[at + d];
      kk += k[at + d] * k[at + d];
      qq += q[at % width + d] * q[at % width + d];
    }
    to_latents += score * score * kk, to_keys += score * score * qq;
  }
  return {0, 0.1 * std::sqrt(to_latents), 0.1 * std::sqrt(to_keys)};
}

/// FLARE's mixer on tokens as a network has them, [B,N,H,D] in memory.
struct Mixer {
  index_t B, H, M, N, D;
  template <class T>
  Tensor<T> operator()(const std::vector<Tensor<T>>& t) const {
    const auto heads = [&](const auto& x) { return x.reshape({B, N, H, D}).permute({0, 2, 1, 3}); };
    return flare_mixer(t[0], heads(t[1]), heads(t[2]), 1).permute({0, 2, 1, 3}).contiguous();
  }
  std::vector<Tensor<double>> inputs() const {
    return {draw({H, M, D}, 0.7), draw({B, N, H * D}, 0.7), draw({B, N, H * D})};
  }
  Rule rule(const std::vector<Tensor<double>>& x, double float_tolerance) const {
    Rule rule{.float_tolerance = float_tolerance};
    if (M == 1) rule.terms = one_latent_terms(x[0], x[1], (*this)(x));
    return rule;
  }
  std::string name() const { return fmt::format("flare B{} H{} M{} N{} D{}", B, H, M, N, D); }
};

/// TF32 products for the length of a scope.
struct Tf32 {
  Tf32() { set_matmul_precision(MatmulPrecision::tf32); }
  ~Tf32() { set_matmul_precision(MatmulPrecision::fp32); }
};

}  // namespace

TEST_CASE("cuda sdpa: sizes and head dimensions") {
  manual_seed(1);
  for (index_t D : {2, 4, 8, 16, 24, 32, 64, 128})
    for (auto [Nq, Nk] : {std::pair<index_t, index_t>{1, 1}, {31, 33}, {64, 128}, {130, 65}})
      check_sdpa({2, 2, Nq, Nk, D, D});
  check_sdpa({1, 2, 33, 70, 8, 24});
  check_sdpa({2, 1, 65, 31, 128, 16});
  if (!small()) {
    check_sdpa({1, 2, 1025, 2049, 16, 16});
    check_sdpa({1, 1, 2049, 1025, 64, 64});
  }
}

TEST_CASE("cuda sdpa: causal, hidden keys, bias with gradient, shared operands") {
  manual_seed(2);
  for (index_t D : {8, 16, 64}) {
    check_sdpa({2, 2, 65, 65, D, D}, true);
    check_sdpa({2, 2, 33, 70, D, D}, true);
    check_sdpa({2, 2, 70, 33, D, D}, true);  // the first queries see nothing
    check_sdpa({2, 3, 40, 77, D, D}, false, true);
    for (const Shape& bias : {Shape{2, 3, 40, 77}, Shape{1, 3, 40, 77}, Shape{2, 1, 1, 77}, Shape{1, 1, 40, 1}})
      check_sdpa({2, 3, 40, 77, D, D}, false, true, bias);
    check_sdpa({3, 2, 7, 100, D, D}, false, false, {}, true);
    check_sdpa({3, 2, 100, 7, D, D}, false, false, {}, false, true);
  }
}

TEST_CASE("cuda FLARE: gather and scatter with few latents and many tokens") {
  manual_seed(3);
  for (index_t D : {2, 4, 8, 16, 32, 64, 128})
    for (index_t M : {1, 7, 16, 64, 128, 200, 256})
      for (index_t N : {1, 31, 33, 1025}) {
        if (small() && (M > 64 || N > 100)) continue;
        const Mixer f{2, M == 64 ? 8 : 3, M, N, D};
        const auto x = f.inputs();
        // Behind a softmax over one token the first hop's part of the gradients cancels.
        compare_all(f.name(), f, x, f.rule(x, N == 1 ? 5e-5 : 2e-5));
      }
  if (!small())
    for (auto [M, N] : {std::pair<index_t, index_t>{2049, 3000}, {128, 70001}, {512, 5000}, {1000, 70001}}) {
      const auto f = [=](const auto& t) { return flare_mixer(t[0], t[1], t[2], 1); };
      for (index_t D : {8, 16})
        compare_all(fmt::format("flare D{} M{} N{}", D, M, N), f,
                    {draw({2, M, D}, 0.7), draw({1, 2, N, D}, 0.7), draw({1, 2, N, D})}, 99, 2e-5);
    }
}

TEST_CASE("cuda FLARE: a few tokens of large scores, which a sample of the tokens misses") {
  manual_seed(5);
  const index_t N = small() ? 2000 : 70001, M = 1024;
  auto k = doubles(draw({1, 2, N, 8}, 0.5));
  for (std::size_t i = 0; i < 8; ++i) k[8 * 1001 + i] *= 300;
  const auto f = [](const auto& t) { return flare_mixer(t[0], t[1], t[2], 1); };
  compare_all("outliers", f, {draw({2, M, 8}, 1), from_vector(k, {1, 2, N, 8}), draw({1, 2, N, 8})}, 99, 2e-4);
}

TEST_CASE("cuda FLARE: a few latents of large scores, which are not among the first") {
  manual_seed(7);
  const auto f = [](const auto& t) { return flare_mixer(t[0], t[1], t[2], 1); };
  for (index_t D : {8, 16, 64})
    for (const double size : {20.0, 300.0}) {
      auto q = doubles(draw({2, 200, D}, 1));
      for (index_t i = 0; i < D; ++i) q[static_cast<std::size_t>(D * 170 + i)] *= size;
      compare_all(fmt::format("latents D{} {}", D, size), f,
                  {from_vector(q, {2, 200, D}), draw({1, 2, 700, D}, 0.5), draw({1, 2, 700, D})}, 99, 5e-4);
    }
}

// Its threshold lies beyond what the sanitizers have time for.
TEST_CASE("cuda FLARE: the sampled way at small sizes") {
  manual_seed(6);
  ::setenv("FLR_ENCODE", "sampled", 1);
  for (index_t D : {2, 8, 16, 32, 64})
    for (auto [M, N] : {std::pair<index_t, index_t>{1, 1024}, {33, 1025}, {64, 2047}}) {
      const Mixer f{2, 3, M, N, D};
      const auto x = f.inputs();
      compare_all("sampled " + f.name(), f, x, f.rule(x, 2e-5));
    }
  ::unsetenv("FLR_ENCODE");
}

// Encode round a ring of latents in one launch and in several, and what follows it.
TEST_CASE("cuda FLARE: the sampled way with many latents") {
  manual_seed(8);
  ::setenv("FLR_ENCODE", "sampled", 1);
  for (index_t D : {2, 4, 8, 16, 32})
    for (auto [M, N] : {std::pair<index_t, index_t>{64, 1025}, {200, 1025}, {512, 5000}, {2049, 3000}}) {
      if (small() && M * N > 70000) continue;
      const Mixer f{2, M == 64 ? 8 : 3, M, N, D};
      const auto x = f.inputs();
      compare_all("many latents " + f.name(), f, x, f.rule(x, 2e-5));
    }
  ::unsetenv("FLR_ENCODE");
}

TEST_CASE("cuda FLARE: large scores stay finite") {
  manual_seed(4);
  const auto f = [](const auto& t) { return flare_mixer(t[0], t[1], t[2], 1); };
  compare_all("large scores", f, {draw({2, 33, 8}, 8), draw({1, 2, 500, 8}, 8), draw({1, 2, 500, 8})}, 99, 2e-4);
}

// Latents that end inside a fragment, fill several warps and several launches; more of them than
// tokens too, where the hops change roles.
TEST_CASE("cuda FLARE: floats, odd numbers of latents and tokens") {
  manual_seed(5);
  for (index_t D : {2, 4, 8, 16, 32, 64})
    for (auto [M, N] : {std::pair<index_t, index_t>{1, 1}, {31, 33}, {33, 1025}, {65, 31}, {129, 257},
                        {257, 1025}, {1025, 33}, {1025, 1025}, {2049, 1025}}) {
      if ((small() && M * N > 5000) || (M > 1025 && D > 32)) continue;
      const Mixer f{2, 3, M, N, D};
      const auto x = f.inputs();
      compare<float>(f.name(), f, f, x, f.rule(x, 2e-5));
    }
}

TEST_CASE("cuda FLARE: floats in products of tf32") {
  manual_seed(6);
  const Tf32 scope;
  for (index_t D : {2, 4, 8, 16, 32, 64})
    for (auto [M, N] : {std::pair<index_t, index_t>{1, 33}, {31, 1025}, {33, 31}, {64, 972}, {257, 1025},
                        {1025, 1025}}) {
      if (small() && M * N > 5000) continue;
      const Mixer f{2, 3, M, N, D};
      const auto x = f.inputs();
      Rule rule = f.rule(x, 1e-3);
      rule.tf32 = true;
      compare<float>(f.name(), f, f, x, rule);
    }
}

TEST_CASE("cuda FLARE: the precision of products reaches floats, and only where it is asked for") {
  manual_seed(7);
  const Mixer f{1, 2, 64, 500, 16};
  const auto x = f.inputs();
  const Outcome exact = run<float>(f, x, 99, Device::cuda);
  Outcome rounded;
  {
    const Tf32 scope;
    rounded = run<float>(f, x, 99, Device::cuda);
  }
  const Outcome again = run<float>(f, x, 99, Device::cuda);
  for (std::size_t i = 0; i < exact.tensors.size(); ++i) {
    CAPTURE(i);
    CHECK(relative(rounded.tensors[i], exact.tensors[i]) > 1e-5);
    CHECK(relative(again.tensors[i], exact.tensors[i]) == 0);
  }
}

// Calls whose sides are of similar length, or with masks: in bf16 those of sdpa/tensor.hpp, with
// FLR_EXPLAIN=1 it says so. 132 heads and more fill a chip, so that a block's warps own different
// rows; below that they share rows, and few rows are split over blocks.
TEST_CASE("cuda sdpa on tensor cores: tails, splits and head dimensions") {
  manual_seed(5);
  for (index_t D : {8, 16, 24, 32, 40, 64, 72, 128})
    for (auto [Nq, Nk] : {std::pair<index_t, index_t>{127, 129}, {128, 256}, {257, 300}, {33, 17}, {65, 95}, {40, 15}})
      check_sdpa({1, 3, Nq, Nk, D, D});
  for (auto [D, Dv] : {std::pair<index_t, index_t>{8, 16}, {16, 8}, {48, 64}, {128, 40}})
    check_sdpa({2, 2, 70, 150, D, Dv});
  check_sdpa({2, 3, 50, 60, 12, 12});  // declined
  if (small()) return;
  for (index_t D : {8, 16, 32, 64, 128}) {
    check_sdpa({4, 34, 131, 141, D, D});
    check_sdpa({2, 70, 129, 65, D, D}, true, true);
    check_sdpa({1, 2, 33, 5000, D, D}, false, true);
    check_sdpa({2, 1, 5000, 20, D, D}, false, true);
    check_sdpa({1, 2, 1500, 1700, D, D});
  }
}

TEST_CASE("cuda sdpa on tensor cores: gradients in one pass") {
  // Heads for twice the multiprocessors, and 256 keys or more: what makes the backend take it.
  manual_seed(18);
  check_sdpa({2, 170, 70, 260, 16, 16});
  check_sdpa({1, 340, 64, 256, 8, 8});
  check_sdpa({2, 170, 66, 258, 16, 16}, false, true);
  check_sdpa({2, 170, 70, 260, 16, 16}, false, false, {}, true);
  check_sdpa({2, 170, 70, 260, 16, 16}, false, false, {}, false, true);
  if (small()) return;
  check_sdpa({2, 170, 150, 590, 16, 16});  // two blocks of keys
  check_sdpa({1, 170, 300, 270, 32, 24});
  check_sdpa({2, 170, 300, 270, 16, 16}, false, true);  // three tiles of queries
}

TEST_CASE("cuda sdpa on tensor cores: scores far beyond those of the first keys") {
  manual_seed(19);
  // A key's scores as much larger as it is long: some beyond what measuring from the first keys bears.
  const Tensor<double> lengths = [] {
    std::vector<double> of(300, 1.0);
    of[150] = 20, of[170] = 300, of[290] = 2000;
    return from_vector(of, {1, 1, 300, 1});
  }();
  for (const index_t D : {8, 16, 64})
    compare<bf16>(fmt::format("far scores D{}", D), [](const auto& t) { return sdpa(t[0], t[1], t[2]); },
                  [](const auto& t) { return sdpa(t[0], t[1], t[2]); },
                  {draw({1, 2, 100, D}), draw({1, 2, 300, D}) * lengths, draw({1, 2, 300, D})},
                  {.differentiable = 0});
}

TEST_CASE("cuda sdpa on tensor cores: causal, hidden keys, shared operands") {
  manual_seed(6);
  for (index_t D : {8, 16, 32, 64, 128}) {
    if (small() && D > 16) continue;
    check_sdpa({1, 2, 300, 300, D, D}, true);
    check_sdpa({2, 1, 140, 290, D, D}, true, true);
    check_sdpa({1, 2, 290, 140, D, D}, true);  // the first queries see nothing
    check_sdpa({3, 2, 150, 260, D, D}, false, true);
    check_sdpa({3, 2, 150, 160, D, D}, false, false, {}, true);
    check_sdpa({3, 2, 150, 160, D, D}, true, false, {}, false, true);
  }
  // Heads shared as well, and one tensor in all three places: gradients are summed and accumulated.
  for (index_t D : {16, 64}) {
    compare_all(fmt::format("shared heads D{}", D),
                [](const auto& t) { return sdpa(t[0], t[1], t[2], {.causal = true}); },
                {draw({2, 4, 90, D}), draw({2, 1, 100, D}), draw({1, 1, 100, D})}, 99, 2e-5);
    compare_all(fmt::format("one operand D{}", D),
                [](const auto& t) { return sdpa(t[0], t[0], t[0]); }, {draw({2, 3, 200, D}, 0.5)}, 99, 2e-5);
  }
}

TEST_CASE("cuda sdpa on tensor cores: tokens as a network has them") {
  manual_seed(7);
  for (index_t D : {8, 16, 32, 64, 128}) {
    const index_t B = 2, N = small() ? 70 : 333, H = 4;
    const auto f = [=](const auto& t) {
      const auto heads = [=](const auto& x) { return x.reshape({B, N, H, D}).permute({0, 2, 1, 3}); };
      return sdpa(heads(t[0]), heads(t[1]), heads(t[2])).permute({0, 2, 1, 3}).contiguous();
    };
    compare_all(fmt::format("tokens D{}", D), f,
                {draw({B, N, H * D}), draw({B, N, H * D}), draw({B, N, H * D})}, 99, 2e-5);
  }
}

/// ‖dS[i,j] q[i]‖ over all i and j of attention with weights that are all about the same.
double key_terms(const Tensor<double>& q, const Tensor<double>& k, const Tensor<double>& v) {
  const index_t heads = q.size(0) * q.size(1), Nq = q.size(2), Nk = k.size(2), D = q.size(3);
  const auto queries = doubles(q), values = doubles(v);
  double sum = 0;
  for (index_t h = 0; h < heads; ++h)
    for (index_t i = 0; i < Nq; ++i) {
      const index_t row = (h * Nq + i) * D;
      double qq = 0, mean = 0, square = 0;
      for (index_t d = 0; d < D; ++d) qq += queries[std::size_t(row + d)] * queries[std::size_t(row + d)];
      for (index_t j = 0; j < Nk; ++j) {
        double dp = 0;
        for (index_t d = 0; d < D; ++d) dp += seed_of(row + d) * values[std::size_t((h * Nk + j) * D + d)];
        mean += dp / double(Nk), square += dp * dp / double(Nk);
      }
      sum += (square - mean * mean) / double(Nk) * qq;
    }
  return std::sqrt(sum);
}

TEST_CASE("cuda sdpa on tensor cores: large scores of both signs") {
  manual_seed(8);
  const auto f = [](const auto& t) { return sdpa(t[0], t[1], t[2], {.scale = 1}); };
  for (index_t D : {8, 16, 64})
    compare_all(fmt::format("large scores D{}", D), f,
                {draw({1, 2, 150, D}, 4), draw({1, 2, 200, D}, 4), draw({1, 2, 200, D})}, 99, 2e-4);
  // e to these scores is 0 in float, and e to their opposites is infinite. All keys are about the
  // same, so that dq is a difference of equal numbers: it must be finite, no more. All queries are
  // about the same too, and a key's gradient is a sum of terms of either sign, dS q, that are far
  // larger: their norm is its scale.
  const auto far = [](const auto& t) { return sdpa(t[2], t[0], t[1], {.scale = 1}); };
  for (index_t D : {8, 16}) {
    const auto q = draw({1, 2, 150, D}, 0.1) + 4.0, k = draw({1, 2, 200, D}, 0.1) - 4.0;
    const auto v = draw({1, 2, 200, D});
    Rule rule{.differentiable = 2, .float_tolerance = 1e-3};
    rule.terms = {0, key_terms(q, k, v)};
    compare_all(fmt::format("scores far below zero D{}", D), far, {k, v, q}, rule);
    const auto x = q.to<bf16>().to(Device::cuda).clone().requires_grad(true);
    const auto y = k.to<bf16>().to(Device::cuda);
    backward(sum(sdpa(x, y, y, {.scale = 1})));
    for (double v : doubles(x.grad())) REQUIRE(std::isfinite(v));
  }
}

TEST_CASE("cuda sdpa on tensor cores: float products of tf32") {
  manual_seed(9);
  struct Tf32 {
    Tf32() { set_matmul_precision(MatmulPrecision::tf32); }
    ~Tf32() { set_matmul_precision(MatmulPrecision::fp32); }
  } scope;
  // Operands are rounded to 10 bits: 2⁻¹¹ at most, a few of them in a row.
  const Rule rule{.float_tolerance = 3e-3};
  const auto check = [&](const Shapes& s, bool causal, bool hide) {
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(s.B * s.Nk));
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = !hide || i * i % 5 != 1;
    const auto keep = from_vector(kept, {s.B, s.Nk});
    const auto f = [=](const auto& t) { return call(t, 1 / std::sqrt(double(s.D)), causal, keep); };
    compare<float>(fmt::format("sdpa tf32 Nq{} Nk{} D{} Dv{}{}{}", s.Nq, s.Nk, s.D, s.Dv,
                               causal ? " causal" : "", hide ? " keep" : ""),
                   f, f, {draw({s.B, s.H, s.Nq, s.D}), draw({s.B, s.H, s.Nk, s.D}), draw({s.B, s.H, s.Nk, s.Dv})},
                   rule);
  };
  for (index_t D : {4, 8, 12, 16, 32, 64, 128}) {  // 128 goes to the general kernels
    check({1, 2, 129, 95, D, D}, false, false);
    check({2, 2, 70, 150, D, D}, true, true);
    if (small()) continue;
    check({4, 34, 131, 141, D, D}, false, true);
    check({1, 1, 40, 3000, D, D}, false, true);
    check({1, 2, 300, 300, D, 16}, true, false);
  }
}
