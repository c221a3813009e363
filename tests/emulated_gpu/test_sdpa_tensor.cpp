// Attention on tensor cores, kernels/sdpa: the forward pass and the backward in one pass, as they stand
// there, on emulated warps, against the formulas in double.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "sdpa/tensor.hpp"

namespace flr::cuda::attention {

/// In place of collect.cu: parts of a gradient that is not shared.
template <>
void collect<bf16>(const Parts<bf16>& p) {
  REQUIRE(!p.shared_b);
  REQUIRE(!p.shared_h);
  for (index_t b = 0; b < p.B; ++b)
    for (index_t h = 0; h < p.H; ++h)
      for (index_t r = 0; r < p.rows; ++r)
        for (index_t c = 0; c < p.width; ++c) {
          float sum = 0;
          for (index_t part = 0; part < p.parts; ++part)
            sum += p.from[(((part * p.B + b) * p.H + h) * p.rows + r) * p.width + c];
          put(p.to + b * p.s.batch + h * p.s.head + r * p.s.row + c, sum, p.accumulate);
        }
}

/// In place of merge.cu: calls here are not split.
template <class T>
void merge_states(const SdpaParams<T>&, index_t, const compute_t<T>*, const Pack<compute_t<T>, 2>*) {
  FAIL("there is nothing to merge");
}
template void merge_states(const SdpaParams<float>&, index_t, const float*, const Pack<float, 2>*);
template void merge_states(const SdpaParams<bf16>&, index_t, const float*, const Pack<float, 2>*);

}  // namespace flr::cuda::attention

namespace {

using namespace flr;
using Doubles = std::vector<double>;

struct Sizes {
  index_t B, H, Nq, Nk, D;
  bool hide = false;
  double scale = 0.3, spread = 1;
  bool causal = false;
};

struct Call {
  Sizes n;
  std::vector<bf16> q, k, v, dy;  ///< tokens as a network has them, [B,N,H,D]
  std::vector<std::uint8_t> keep;

  explicit Call(const Sizes& sizes) : n(sizes) {
    std::mt19937 random(9);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<bf16>& x, index_t N, double size) {
      for (index_t i = 0; i < n.B * N * n.H * n.D; ++i) x.emplace_back(float(size) * normal(random));
    };
    fill(q, n.Nq, n.spread), fill(k, n.Nk, n.spread), fill(v, n.Nk, 1), fill(dy, n.Nq, 1);
    // The last sample has no keys at all.
    for (index_t i = 0; i < n.B * n.Nk; ++i) keep.push_back(i % 5 != 1 && (n.B < 2 || i / n.Nk + 1 < n.B));
  }
  HeadStrides strides(index_t N) const { return {N * n.H * n.D, n.D, n.H * n.D}; }
};

struct Results {
  Doubles y, dq, dk, dv;
  std::vector<cuda::Pack<float, 2>> statistics;  ///< L in units of log 2, δ
};

Results by_formula(const Call& c) {
  const Sizes& n = c.n;
  const auto Nq = std::size_t(n.Nq), Nk = std::size_t(n.Nk), D = std::size_t(n.D);
  Results out{Doubles(c.q.size()), Doubles(c.q.size()), Doubles(c.k.size()), Doubles(c.k.size()), {}};
  for (index_t b = 0; b < n.B; ++b)
    for (index_t h = 0; h < n.H; ++h) {
      const auto place = [&](std::size_t i, std::size_t d, std::size_t N) {
        return ((std::size_t(b) * N + i) * std::size_t(n.H) + std::size_t(h)) * D + d;
      };
      const auto at = [&](const std::vector<bf16>& x, std::size_t i, std::size_t d, std::size_t N) {
        return double(float(x[place(i, d, N)]));
      };
      for (std::size_t i = 0; i < Nq; ++i) {
        Doubles p(Nk), change(Nk);
        double most = -INFINITY, sum = 0, delta = 0;
        for (std::size_t j = 0; j < Nk; ++j) {
          const bool kept = (!n.hide || c.keep[std::size_t(b) * Nk + j]) && (!n.causal || j + Nq <= i + Nk);
          for (std::size_t d = 0; d < D; ++d) p[j] += n.scale * at(c.q, i, d, Nq) * at(c.k, j, d, Nk);
          if (!kept) p[j] = -INFINITY;
          most = std::max(most, p[j]);
        }
        for (double& x : p) sum += x = most > -INFINITY ? std::exp(x - most) : 0;
        for (double& x : p) x = sum > 0 ? x / sum : 0;
        for (std::size_t j = 0; j < Nk; ++j) {
          for (std::size_t d = 0; d < D; ++d) change[j] += at(c.dy, i, d, Nq) * at(c.v, j, d, Nk);
          delta += p[j] * change[j];
        }
        out.statistics.push_back({{sum > 0 ? float((most + std::log(sum)) / std::log(2.0)) : 0.0f, float(delta)}});
        for (std::size_t j = 0; j < Nk; ++j)
          for (std::size_t d = 0; d < D; ++d) {
            const double s = n.scale * p[j] * (change[j] - delta);
            out.dq[place(i, d, Nq)] += s * at(c.k, j, d, Nk);
            out.dk[place(j, d, Nk)] += s * at(c.q, i, d, Nq);
            out.dv[place(j, d, Nk)] += p[j] * at(c.dy, i, d, Nq);
            out.y[place(i, d, Nq)] += p[j] * at(c.v, j, d, Nk);
          }
      }
    }
  return out;
}

double deviation(const std::vector<bf16>& got, const Doubles& expected, double offset) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = double(float(got[i])) - expected[i] - offset;
    difference += d * d, size += expected[i] * expected[i] + offset * offset;
  }
  return std::sqrt(difference / std::max(size, 1e-30));
}

void check_call(const Sizes& n) {
  CAPTURE(n.B);
  CAPTURE(n.H);
  CAPTURE(n.Nq);
  CAPTURE(n.Nk);
  CAPTURE(n.D);
  CAPTURE(n.hide);
  const Call c(n);
  const Results expected = by_formula(c);
  SdpaBackwardParams<bf16> p;
  p.f.B = n.B, p.f.H = n.H, p.f.Nq = n.Nq, p.f.Nk = n.Nk, p.f.D = p.f.Dv = n.D;
  p.f.q = c.q.data(), p.f.k = c.k.data(), p.f.v = c.v.data(), p.dout = c.dy.data();
  p.f.qs = p.dos = p.dqs = c.strides(n.Nq);
  p.f.ks = p.f.vs = p.dks = p.dvs = c.strides(n.Nk);
  p.f.scale = float(n.scale);
  if (n.hide) p.f.keep = c.keep.data(), p.f.keep_batch = n.Nk;
  // What is not written is seen; the second time gradients are added to what is there.
  for (const bool add : {false, true}) {
    const bf16 before(add ? 1.0f : NAN);
    std::vector<bf16> dq(c.q.size(), before), dk(c.k.size(), before), dv(c.k.size(), before);
    p.dq = dq.data(), p.dk = dk.data(), p.dv = dv.data();
    p.dq_mode = p.dk_mode = p.dv_mode = add ? GradMode::accumulate : GradMode::overwrite;
    cuda::attention::tensor::fused_backward(p, expected.statistics.data());
    CHECK(deviation(dq, expected.dq, add) < 8e-3);
    CHECK(deviation(dk, expected.dk, add) < 8e-3);
    CHECK(deviation(dv, expected.dv, add) < 8e-3);
  }
}

/// y and the log-sum-exps, which are −∞ where a query sees no keys.
void check_forward(const Call& c) {
  const Sizes& n = c.n;
  CAPTURE(n.Nq);
  CAPTURE(n.Nk);
  CAPTURE(n.D);
  const Results expected = by_formula(c);
  std::vector<bf16> y(c.q.size(), bf16(NAN));
  std::vector<float> lse(expected.statistics.size(), NAN);
  SdpaParams<bf16> p;
  p.B = n.B, p.H = n.H, p.Nq = n.Nq, p.Nk = n.Nk, p.D = p.Dv = n.D;
  p.q = c.q.data(), p.k = c.k.data(), p.v = c.v.data(), p.o = y.data(), p.lse = lse.data();
  p.qs = p.os = c.strides(n.Nq), p.ks = p.vs = c.strides(n.Nk);
  p.scale = float(n.scale), p.causal = n.causal;
  if (n.hide) p.keep = c.keep.data(), p.keep_batch = n.Nk;
  REQUIRE(cuda::attention::tensor::forward(p) == 1);
  CHECK(deviation(y, expected.y, 0) < 8e-3);
  for (std::size_t i = 0; i < lse.size(); ++i) {
    const index_t b = index_t(i) / (n.H * n.Nq);
    if (n.hide && n.B > 1 && b + 1 == n.B)
      CHECK(lse[i] == -INFINITY);
    else
      CHECK(lse[i] == doctest::Approx(double(expected.statistics[i].v[0]) * std::log(2.0)).epsilon(1e-3));
  }
}

}  // namespace

TEST_CASE("emulated attention forward: lengths, widths and masks") {
  check_forward(Call({1, 2, 70, 90, 16}));
  for (const index_t D : {8, 24, 32, 128}) check_forward(Call({1, 1, 40, 300, D}));
  check_forward(Call({2, 1, 33, 170, 16, true}));
  check_forward(Call({1, 2, 150, 150, 16, false, 0.3, 1, true}));
}

TEST_CASE("emulated attention forward: scores far beyond those of the first keys") {
  Call c({1, 1, 40, 400, 16});
  const auto grow = [&](std::size_t key, float factor) {
    for (std::size_t d = 0; d < 16; ++d) c.k[key * 16 + d] = bf16(factor * float(c.k[key * 16 + d]));
  };
  for (std::size_t key : {200u, 330u}) grow(key, 30);  // 2³⁰ times the first weights
  check_forward(c);
  for (std::size_t key : {201u, 331u}) grow(key, 2000);  // beyond the range of float
  check_forward(c);
}

TEST_CASE("emulated attention forward: the first keys hidden, others far below zero") {
  Call c({1, 1, 40, 300, 16, true});
  std::fill(c.keep.begin(), c.keep.begin() + 70, std::uint8_t(0));
  check_forward(c);
  for (bf16& x : c.q) x = bf16(std::abs(float(x)) * 8 + 8);
  for (bf16& x : c.k) x = bf16(-std::abs(float(x)) * 8 - 8);
  check_forward(c);
}

TEST_CASE("emulated one-pass attention backward: lengths and widths") {
  check_call({1, 1, 300, 70, 16});  // three tiles of queries
  check_call({1, 2, 70, 90, 16});
  check_call({2, 1, 64, 64, 16});
  check_call({1, 1, 3, 600, 16});  // two blocks: parts of dq
  check_call({1, 1, 330, 600, 16});  // and six tiles, with warps that have no keys
  check_call({1, 1, 450, 70, 8});
  check_call({3, 2, 64, 512, 16});  // a whole tile and keys for all warps, in all orders
  for (const index_t D : {8, 24, 32}) check_call({1, 1, 150, 300, D});
}

TEST_CASE("emulated one-pass attention backward: hidden keys, and a sample that has no others") {
  check_call({2, 2, 33, 70, 16, true});
}

TEST_CASE("emulated one-pass attention backward: scores far below zero, keys that do not exist") {
  // Without a mask the keys beyond the last would have weights of 2^(0 − L), beyond any float.
  Call c({1, 1, 20, 20, 8});
  for (bf16& x : c.q) x = bf16(std::abs(float(x)) * 8 + 8);
  for (bf16& x : c.k) x = bf16(-std::abs(float(x)) * 8 - 8);
  const Results expected = by_formula(c);
  SdpaBackwardParams<bf16> p;
  p.f.B = p.f.H = 1, p.f.Nq = p.f.Nk = 20, p.f.D = p.f.Dv = 8;
  p.f.q = c.q.data(), p.f.k = c.k.data(), p.f.v = c.v.data(), p.dout = c.dy.data();
  p.f.qs = p.dos = p.dqs = p.f.ks = p.f.vs = p.dks = p.dvs = c.strides(20);
  p.f.scale = float(c.n.scale);
  std::vector<bf16> dq(c.q.size()), dk(c.k.size()), dv(c.k.size());
  p.dq = dq.data(), p.dk = dk.data(), p.dv = dv.data();
  p.dq_mode = p.dk_mode = p.dv_mode = GradMode::overwrite;
  CHECK(expected.statistics[0].v[0] < -130);
  cuda::attention::tensor::fused_backward(p, expected.statistics.data());
  for (const bf16 x : dq) CHECK(std::isfinite(float(x)));
  CHECK(deviation(dv, expected.dv, 0) < 2e-2);
}
