// FLARE's mixer backward and its encode of many tokens as they stand in kernels/flare, on emulated
// warps: results against double, run-to-run bits, rings, tails and launches without a
// GPU.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <utility>

#include "flare/problem.hpp"
#include "flr/core/scalar.hpp"

namespace {

using namespace flr;
using namespace flr::cuda::flare;

struct Call {
  int B = 1, H = 1, M = 1, D = 8;
  index_t N = 1;
  float scale = 1;
  double spread = 1;   ///< of q and k
  double offset = 0;   ///< added to the scores of the last latent, which sets log-sum-exps apart
  GradMode mode = GradMode::overwrite;
  bool shared = true;  ///< one q for the batch, its gradient summed
  index_t outlier = -1;  ///< a token whose key is made 300 times as large
};

/// A tensor's bf16 memory; tokens and z lie as [B,rows,H,D], latents as [B,H,rows,D].
struct Data {
  std::vector<bf16> x;
  HeadStrides s;
  index_t at(int b, int h, index_t i, int d) const {
    return b * s.batch + h * s.head + i * s.row + d;
  }
  double operator()(int b, int h, index_t i, int d) const {
    return double(float(x[std::size_t(at(b, h, i, d))]));
  }
  Heads<const bf16> in() const { return {x.data(), s}; }
};

class Problem {
 public:
  Call c;
  Data q, k, v, z, y, dy;
  std::vector<float> lse_z, lse_y;
  std::vector<double> dq, dk, dv;  ///< as q, k and v lie
  std::array<double, 3> terms{};   ///< squares of what is added up to dq, dk and dv, by magnitude

  explicit Problem(const Call& call) : c(call) {
    const index_t width = index_t{c.H} * c.D;
    const HeadStrides token{c.N * width, c.D, width}, between{c.M * width, c.D, width};
    const HeadStrides latent{c.shared ? 0 : c.M * width, index_t{c.M} * c.D, c.D};
    q = draw((c.shared ? 1 : c.B) * c.M * width, c.spread, latent);
    k = draw(c.B * c.N * width, c.spread, token), v = draw(c.B * c.N * width, 1, token);
    for (int d = 0; c.outlier >= 0 && d < c.D; ++d) {
      bf16& x = k.x[std::size_t(k.at(0, 0, c.outlier, d))];
      x = bf16(300 * float(x));
    }
    dy = draw(c.B * c.N * width, 1, token);
    z = draw(c.B * c.M * width, 0, between), y = draw(c.B * c.N * width, 0, token);
    if (c.offset != 0) set_apart();
    lse_z.resize(std::size_t(c.B * c.H * c.M)), lse_y.resize(std::size_t(c.B * c.H * c.N));
    dq.resize(q.x.size()), dk.resize(k.x.size()), dv.resize(v.x.size());
    for (int b = 0; b < c.B; ++b)
      for (int h = 0; h < c.H; ++h) solve(b, h);
  }

  std::vector<std::vector<double>> run() const {
    bf16 nan;
    nan.bits = 0x7fff;
    const bf16 before = c.mode == GradMode::accumulate ? bf16(0.5f) : nan;
    const auto room = [&](const Data& x) { return std::vector<bf16>(x.x.size() + 8, before); };
    std::vector<bf16> gq = room(q), gk = room(k), gv = room(v);
    MixerBackward p;
    p.n = {c.B, c.H, c.M, c.D, c.N, c.scale};
    p.q = q.in(), p.k = k.in(), p.v = v.in(), p.z = z.in(), p.y = y.in(), p.dy = dy.in();
    p.lse_z = lse_z.data(), p.lse_y = lse_y.data();
    p.dq = {{gq.data(), q.s}, c.mode}, p.dk = {{gk.data(), k.s}, c.mode};
    p.dv = {{gv.data(), v.s}, c.mode};
    mixer_backward(p);
    std::vector<std::vector<double>> out;
    for (const auto* g : {&gq, &gk, &gv}) {
      for (std::size_t i = g->size() - 8; i < g->size(); ++i) CHECK((*g)[i].bits == before.bits);
      out.emplace_back(g->begin(), g->end() - 8);
      if (c.mode == GradMode::accumulate)
        for (double& x : out.back()) x -= 0.5;
    }
    return out;
  }
  /// Encode's largest errors: of z, whose terms are of size 1, and of lse.
  std::array<double, 2> encode_errors() const {
    std::vector<bf16> got(z.x.size());
    std::vector<float> lse(lse_z.size());
    cuda::Scratch<int> overflow(1);
    Encode p;
    p.n = {c.B, c.H, c.M, c.D, c.N, c.scale};
    p.q = q.in(), p.k = k.in(), p.v = v.in(), p.z = {got.data(), z.s}, p.lse = lse.data();
    encode_sampled(p, overflow);
    CHECK((*overflow != 0) == (c.outlier >= 0));
    std::array<double, 2> e{};
    for (std::size_t i = 0; i < got.size(); ++i)
      e[0] = std::max(e[0], std::abs(double(float(got[i])) - double(float(z.x[i]))));
    for (std::size_t i = 0; i < lse.size(); ++i)
      e[1] = std::max(e[1], double(std::abs(lse[i] - lse_z[i])));
    return e;
  }
  /// ‖got − expected‖₂ of dq, dk and dv relative to the magnitudes of what they are sums of: with
  /// few tokens or latents they cancel.
  std::array<double, 3> errors(const std::vector<std::vector<double>>& got) const {
    const std::vector<double>* expected[] = {&dq, &dk, &dv};
    std::array<double, 3> e{};
    for (std::size_t i = 0; i < 3; ++i) {
      double off = 0;
      for (std::size_t j = 0; j < got[i].size(); ++j) {
        const double d = got[i][j] - (*expected[i])[j];
        off += std::isfinite(d) ? d * d : INFINITY;
      }
      e[i] = std::sqrt(off / terms[i]);
    }
    return e;
  }

 private:
  std::mt19937_64 random{7};

  Data draw(index_t n, double scale, const HeadStrides& s) {
    std::normal_distribution<float> normal(0, 1);
    Data d{std::vector<bf16>(std::size_t(n)), s};
    if (scale != 0)
      for (bf16& x : d.x) x = bf16(float(scale) * normal(random));
    return d;
  }
  /// Channel 0 of every k is 1, and of q 0, but for the last latent of a head.
  void set_apart() {
    for (int b = 0; b < c.B; ++b)
      for (int h = 0; h < c.H; ++h) {
        for (index_t n = 0; n < c.N; ++n) k.x[std::size_t(k.at(b, h, n, 0))] = bf16(1.f);
        for (int m = 0; m < c.M; ++m)
          q.x[std::size_t(q.at(b, h, m, 0))] = bf16(m + 1 == c.M ? float(c.offset) : 0.f);
      }
  }

  void solve(int b, int h) {
    const std::size_t M = std::size_t(c.M), N = std::size_t(c.N), D = std::size_t(c.D);
    const auto score = [&](std::size_t m, std::size_t n) {
      double s = 0;
      for (int d = 0; d < c.D; ++d) s += q(b, h, index_t(m), d) * k(b, h, index_t(n), d);
      return s * c.scale;
    };
    std::vector<double> S(M * N), P(M * N), R(M * N), Z(M * D), Y(N * D), dz(M * D);
    for (std::size_t m = 0; m < M; ++m)
      for (std::size_t n = 0; n < N; ++n) S[m * N + n] = score(m, n);
    const auto log_sum = [&](std::size_t count, auto at) {
      double top = -INFINITY, sum = 0;
      for (std::size_t i = 0; i < count; ++i) top = std::max(top, at(i));
      for (std::size_t i = 0; i < count; ++i) sum += std::exp(at(i) - top);
      return top + std::log(sum);
    };
    const std::size_t head = std::size_t(b * c.H + h);
    for (std::size_t m = 0; m < M; ++m) {
      const double l = log_sum(N, [&](std::size_t n) { return S[m * N + n]; });
      lse_z[head * M + m] = float(l);
      for (std::size_t n = 0; n < N; ++n) {
        P[m * N + n] = std::exp(S[m * N + n] - l);
        for (std::size_t d = 0; d < D; ++d) Z[m * D + d] += P[m * N + n] * v(b, h, index_t(n), int(d));
      }
    }
    for (std::size_t n = 0; n < N; ++n) {
      const double l = log_sum(M, [&](std::size_t m) { return S[m * N + n]; });
      lse_y[head * N + n] = float(l);
      for (std::size_t m = 0; m < M; ++m) {
        R[m * N + n] = std::exp(S[m * N + n] - l);
        for (std::size_t d = 0; d < D; ++d) {
          Y[n * D + d] += R[m * N + n] * Z[m * D + d];
          dz[m * D + d] += R[m * N + n] * dy(b, h, index_t(n), int(d));
        }
      }
    }
    std::vector<double> delta_z(M), delta_y(N);
    std::vector<double> size_q(M * D), size_k(N * D), size_v(N * D);
    for (std::size_t m = 0; m < M; ++m)
      for (std::size_t d = 0; d < D; ++d) {
        delta_z[m] += dz[m * D + d] * Z[m * D + d];
        z.x[std::size_t(z.at(b, h, index_t(m), int(d)))] = bf16(float(Z[m * D + d]));
      }
    for (std::size_t n = 0; n < N; ++n)
      for (std::size_t d = 0; d < D; ++d) {
        delta_y[n] += dy(b, h, index_t(n), int(d)) * Y[n * D + d];
        y.x[std::size_t(y.at(b, h, index_t(n), int(d)))] = bf16(float(Y[n * D + d]));
      }
    for (std::size_t m = 0; m < M; ++m)
      for (std::size_t n = 0; n < N; ++n) {
        double p = -delta_z[m], r = -delta_y[n], size_p = std::abs(p), size_r = std::abs(r);
        for (std::size_t d = 0; d < D; ++d) {
          p += dz[m * D + d] * v(b, h, index_t(n), int(d));
          r += dy(b, h, index_t(n), int(d)) * Z[m * D + d];
          size_p += std::abs(dz[m * D + d] * v(b, h, index_t(n), int(d)));
          size_r += std::abs(dy(b, h, index_t(n), int(d)) * Z[m * D + d]);
        }
        const double size = c.scale * (P[m * N + n] * size_p + R[m * N + n] * size_r);
        const double ds = c.scale * (P[m * N + n] * p + R[m * N + n] * r);
        for (std::size_t d = 0; d < D; ++d) {
          const std::size_t in_q = std::size_t(q.at(b, h, index_t(m), int(d)));
          const std::size_t in_k = std::size_t(k.at(b, h, index_t(n), int(d)));
          dq[in_q] += ds * k(b, h, index_t(n), int(d));
          dk[in_k] += ds * q(b, h, index_t(m), int(d));
          dv[in_k] += P[m * N + n] * dz[m * D + d];
          size_q[m * D + d] += size * std::abs(k(b, h, index_t(n), int(d)));
          size_k[n * D + d] += size * std::abs(q(b, h, index_t(m), int(d)));
          size_v[n * D + d] += P[m * N + n] * std::abs(dz[m * D + d]);
        }
      }
    std::size_t i = 0;
    for (const auto* sizes : {&size_q, &size_k, &size_v}) {
      for (double x : *sizes) terms[i] += x * x;
      ++i;
    }
  }
};

/// The same bits twice, and near to double.
void check_call(const Call& call) {
  if (std::getenv("FLR_TEST_PRINT"))
    std::printf("B%d H%d M%d N%d D%d spread %g offset %g\n", call.B, call.H, call.M, int(call.N), call.D,
                call.spread, call.offset);
  CAPTURE(call.B);
  CAPTURE(call.H);
  CAPTURE(call.M);
  CAPTURE(call.N);
  CAPTURE(call.D);
  CAPTURE(call.spread);
  CAPTURE(call.offset);
  const Problem problem(call);
  const auto got = problem.run();
  CHECK(got == problem.run());
  const auto error = problem.errors(got);
  if (std::getenv("FLR_TEST_PRINT"))
    std::printf("  dq %.2g dk %.2g dv %.2g\n", error[0], error[1], error[2]);
  for (double e : error) CHECK(e < 8e-3);
}

}  // namespace

TEST_CASE("mixer backward: sizes that are no multiple of anything") {
  for (int D : {8, 16})
    for (index_t N : {1, 31, 33, 100})
      for (int M : {1, 17, 64}) check_call({.H = 1, .M = M, .D = D, .N = N});
}
TEST_CASE("mixer backward: heads, batches, rounds of the ring") {
  for (int D : {8, 16}) {
    check_call({.H = 4, .M = 40, .D = D, .N = 1025});
    check_call({.B = 2, .H = 3, .M = 33, .D = D, .N = 300});
    check_call({.B = 2, .H = 2, .M = 33, .D = D, .N = 300, .shared = false});
    check_call({.H = 8, .M = 16, .D = D, .N = 500});
  }
  for (int D : {2, 4}) check_call({.H = 2, .M = 40, .D = D, .N = 200});
}
TEST_CASE("mixer backward: many latents, in one launch and in several") {
  for (int D : {8, 16}) {
    check_call({.M = 288, .D = D, .N = 1100, .scale = 0.5f});
    cuda::max_shared_bytes() = 20 * 1024;
    check_call({.H = 2, .M = 140, .D = D, .N = 400});
    cuda::max_shared_bytes() = 227 * 1024;
  }
}
TEST_CASE("mixer backward: many latents, and tokens in ranges that leave little in between") {
  const int shared = std::exchange(cuda::max_shared_bytes(), 20 * 1024);
  const index_t carried = std::exchange(cuda::flare::most_carried_bytes, 1);  // a round at a time
  for (int D : {8, 16, 32}) {
    check_call({.H = 2, .M = 140, .D = D, .N = 700});
    check_call({.H = 1, .M = 140, .D = D, .N = 700, .mode = GradMode::accumulate});
  }
  cuda::max_shared_bytes() = shared, cuda::flare::most_carried_bytes = carried;
}
TEST_CASE("mixer backward: gradients on top of what is there") {
  check_call({.H = 2, .M = 40, .D = 16, .N = 100, .mode = GradMode::accumulate});
}
TEST_CASE("mixer backward: log-sum-exps far apart") {
  for (double offset : {20., 50., 80., 200., -60.})
    check_call({.H = 2, .M = 20, .D = 8, .N = 100, .offset = offset});
  check_call({.H = 2, .M = 70, .D = 16, .N = 200, .scale = 1, .spread = 3});
}

TEST_CASE("encode without a running maximum") {
  for (const Call& call : {Call{.H = 4, .M = 40, .D = 8, .N = 1025}, {.H = 1, .M = 288, .D = 16, .N = 1100},
                           {.B = 2, .H = 3, .M = 33, .D = 16, .N = 300}, {.H = 8, .M = 16, .D = 8, .N = 500}}) {
    CAPTURE(call.M);
    CAPTURE(call.N);
    const Problem problem(call);
    const auto error = problem.encode_errors();
    CHECK(error[0] < 0.016);  // two roundings to bf16 of numbers below 1
    CHECK(error[1] < 0.004);
  }
}

// What it leaves then is computed again by the kernel with a running maximum.
TEST_CASE("encode without a running maximum: a token that the sample misses is told of") {
  const Problem problem({.H = 2, .M = 33, .D = 8, .N = 1100, .outlier = 1001});
  problem.encode_errors();
}
