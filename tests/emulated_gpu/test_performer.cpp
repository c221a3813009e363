// kernels/performer as it stands there, on emulated warps, against the formulas in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "flr/core/performer_params.hpp"
#include "performer/entries.hpp"

namespace {

using namespace flr;
using Doubles = std::vector<double>;

struct Sizes {
  index_t B, H, Nq, Nk, D, R;
  bool hide = false;
  double offset = 1e-3, factor = 0.6;
};

struct Call {
  Sizes n;
  std::vector<bf16> q, k, v, dy;  ///< tokens as a network has them, [B,N,H,D]
  std::vector<float> rows;
  std::vector<std::uint8_t> keep;
  double scale = 0.25, epsilon = 1e-6;

  explicit Call(const Sizes& sizes) : n(sizes) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<bf16>& x, index_t N) {
      for (index_t i = 0; i < n.B * N * n.H * n.D; ++i) x.emplace_back(normal(random));
    };
    fill(q, n.Nq), fill(k, n.Nk), fill(v, n.Nk), fill(dy, n.Nq);
    for (index_t i = 0; i < n.H * n.R * n.D; ++i) rows.push_back(normal(random));
    // The last sample has no keys at all.
    for (index_t i = 0; i < n.B * n.Nk; ++i) keep.push_back(i % 5 != 1 && (n.B < 2 || i / n.Nk + 1 < n.B));
  }
  HeadStrides strides(index_t N) const { return {N * n.H * n.D, n.D, n.H * n.D}; }
};

struct Results {
  Doubles y, dq, dk, dv;
};

Results by_formula(const Call& c) {
  const Sizes& n = c.n;
  const auto Nq = std::size_t(n.Nq), Nk = std::size_t(n.Nk), D = std::size_t(n.D), R = std::size_t(n.R);
  Results out{Doubles(c.q.size()), Doubles(c.q.size()), Doubles(c.k.size()), Doubles(c.k.size())};
  for (index_t b = 0; b < n.B; ++b)
    for (index_t h = 0; h < n.H; ++h) {
      const auto place = [&](std::size_t i, std::size_t d, std::size_t N) {
        return ((std::size_t(b) * N + i) * std::size_t(n.H) + std::size_t(h)) * D + d;
      };
      const auto head_of = [&](const std::vector<bf16>& x, std::size_t N) {
        Doubles y(N * D);
        for (std::size_t i = 0; i < N; ++i)
          for (std::size_t d = 0; d < D; ++d) y[i * D + d] = double(float(x[place(i, d, N)]));
        return y;
      };
      const Doubles q = head_of(c.q, Nq), k = head_of(c.k, Nk), v = head_of(c.v, Nk), dy = head_of(c.dy, Nq);
      const auto row = [&](std::size_t r, std::size_t d) { return double(c.rows[(std::size_t(h) * R + r) * D + d]); };
      // Exponentials E of queries and keys, without offset; hidden keys have none.
      Doubles eq(Nq * R), ek(Nk * R);
      std::vector<std::size_t> top_q(Nq);
      std::size_t top_k = 0;
      double most = -INFINITY;
      std::vector<bool> kept(Nk);
      for (std::size_t i = 0; i < Nk; ++i) {
        kept[i] = !n.hide || c.keep[std::size_t(b) * Nk + i];
        for (std::size_t r = 0; r < R; ++r) {
          double& e = ek[i * R + r];
          for (std::size_t d = 0; d < D; ++d) {
            const double x = k[i * D + d] * n.factor;
            e += x * row(r, d) - x * x / 2;
          }
          if (kept[i] && e > most) most = e, top_k = i * R + r;
        }
      }
      for (std::size_t i = 0; i < Nk * R; ++i) ek[i] = kept[i / R] ? c.scale * std::exp(ek[i] - most) : 0;
      for (std::size_t i = 0; i < Nq; ++i) {
        double own = -INFINITY;
        for (std::size_t r = 0; r < R; ++r) {
          double& e = eq[i * R + r];
          for (std::size_t d = 0; d < D; ++d) e += q[i * D + d] * n.factor * row(r, d);
          if (e > own) own = e, top_q[i] = r;
        }
        for (std::size_t r = 0; r < R; ++r) eq[i * R + r] = c.scale * std::exp(eq[i * R + r] - own);
      }
      Doubles S(R * D), z(R), dS(R * D), dz(R);
      for (std::size_t i = 0; i < Nk; ++i)
        for (std::size_t r = 0; r < R && kept[i]; ++r) {
          const double f = ek[i * R + r] + n.offset;
          z[r] += f;
          for (std::size_t d = 0; d < D; ++d) S[r * D + d] += f * v[i * D + d];
        }
      for (std::size_t i = 0; i < Nq; ++i) {
        double weight = c.epsilon, along = 0;
        Doubles y(D);
        for (std::size_t r = 0; r < R; ++r) {
          const double f = eq[i * R + r] + n.offset;
          weight += f * z[r];
          for (std::size_t d = 0; d < D; ++d) y[d] += f * S[r * D + d];
        }
        for (std::size_t d = 0; d < D; ++d) {
          out.y[place(i, d, Nq)] = y[d] /= weight;
          along += y[d] * dy[i * D + d];
        }
        double total = 0;
        for (std::size_t r = 0; r < R; ++r) {
          const double f = eq[i * R + r] + n.offset;
          double slope = -along / weight * z[r];
          dz[r] -= along / weight * f;
          for (std::size_t d = 0; d < D; ++d) {
            slope += S[r * D + d] * dy[i * D + d] / weight;
            dS[r * D + d] += f * dy[i * D + d] / weight;
          }
          slope *= eq[i * R + r], total += slope;
          for (std::size_t d = 0; d < D; ++d) out.dq[place(i, d, Nq)] += n.factor * slope * row(r, d);
        }
        for (std::size_t d = 0; d < D; ++d) out.dq[place(i, d, Nq)] -= n.factor * total * row(top_q[i], d);
      }
      double all = 0;
      const auto add = [&](std::size_t i, std::size_t r, double slope) {
        for (std::size_t d = 0; d < D; ++d)
          out.dk[place(i, d, Nk)] += n.factor * slope * (row(r, d) - n.factor * k[i * D + d]);
      };
      for (std::size_t i = 0; i < Nk; ++i)
        for (std::size_t r = 0; r < R && kept[i]; ++r) {
          double slope = dz[r];
          for (std::size_t d = 0; d < D; ++d) {
            slope += dS[r * D + d] * v[i * D + d];
            out.dv[place(i, d, Nk)] += (ek[i * R + r] + n.offset) * dS[r * D + d];
          }
          add(i, r, slope * ek[i * R + r]);
          all += slope * ek[i * R + r];
        }
      if (most > -INFINITY) add(top_k / R, top_k % R, -all);
    }
  return out;
}

/// Relative to what is expected, but to ones where that is nothing: with one key, y is v.
double deviation(const std::vector<bf16>& got, const Doubles& expected, double offset = 0,
                 bool one_key = false) {
  double difference = 0, size = one_key ? double(got.size()) : 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = double(float(got[i])) - expected[i] - offset;
    difference += d * d, size += expected[i] * expected[i] + offset * offset;
  }
  return std::sqrt(difference / std::max(size, 1e-30));
}

struct Memory {
  std::vector<float> state, norms, maximum;
  std::vector<index_t> attained;
};

PerformerParams<bf16> params(const Call& c, Memory& m, std::vector<bf16>& y) {
  const Sizes& n = c.n;
  m.state.assign(std::size_t(n.B * n.H * n.R * (n.D + 1)), NAN);
  m.norms.assign(std::size_t(n.B * n.H * n.Nk), NAN);
  m.maximum.assign(std::size_t(n.B * n.H), NAN);
  m.attained.assign(std::size_t(n.B * n.H), -7);
  y.assign(c.q.size(), bf16(NAN));
  PerformerParams<bf16> p;
  p.B = n.B, p.H = n.H, p.Nq = n.Nq, p.Nk = n.Nk, p.D = n.D, p.R = n.R;
  p.factor = float(n.factor), p.scale = float(c.scale), p.offset = float(n.offset);
  p.epsilon = float(c.epsilon);
  p.q = c.q.data(), p.k = c.k.data(), p.v = c.v.data(), p.y = y.data();
  p.qs = p.ys = c.strides(n.Nq), p.ks = p.vs = c.strides(n.Nk);
  p.rows = c.rows.data();
  if (n.hide) p.keep = c.keep.data(), p.keep_batch = n.Nk;
  p.state = m.state.data(), p.norms = m.norms.data(), p.maximum = m.maximum.data();
  p.attained = m.attained.data();
  return p;
}

void check_call(const Sizes& n) {
  CAPTURE(n.B);
  CAPTURE(n.H);
  CAPTURE(n.Nq);
  CAPTURE(n.Nk);
  CAPTURE(n.D);
  CAPTURE(n.R);
  CAPTURE(n.hide);
  const Call c(n);
  const Results expected = by_formula(c);
  Memory memory;
  std::vector<bf16> y;
  const PerformerParams<bf16> p = params(c, memory, y);
  std::string why;
  REQUIRE(cuda::performer_fits(p, &why));
  cuda::performer_passes(p);
  CHECK(deviation(y, expected.y) < 5e-3);
  // What is not written is seen; the second time gradients are added to what is there.
  for (const bool add : {false, true}) {
    const bf16 before(add ? 1.0f : NAN);
    std::vector<bf16> dq(c.q.size(), before), dk(c.k.size(), before), dv(c.k.size(), before);
    PerformerBackwardParams<bf16> b;
    b.f = p, b.f.y = nullptr, b.dy = c.dy.data(), b.dys = c.strides(n.Nq);
    b.dq = dq.data(), b.dk = dk.data(), b.dv = dv.data();
    b.dqs = c.strides(n.Nq), b.dks = b.dvs = c.strides(n.Nk);
    b.dq_mode = b.dk_mode = b.dv_mode = add ? GradMode::accumulate : GradMode::overwrite;
    cuda::performer_backward_passes(b);
    CHECK(deviation(dq, expected.dq, add, n.Nk == 1) < 1e-2);
    CHECK(deviation(dk, expected.dk, add, n.Nk == 1) < 1e-2);
    CHECK(deviation(dv, expected.dv, add) < 1e-2);
  }
}

}  // namespace

TEST_CASE("emulated performer: lengths") {
  for (const index_t N : {1, 7, 16, 17, 45}) check_call({1, 2, N, N, 16, 32});
  check_call({1, 1, 5, 70, 8, 16});
  check_call({1, 1, 70, 5, 8, 16});
}

TEST_CASE("emulated performer: widths and numbers of features") {
  for (const index_t D : {8, 16, 32, 64}) check_call({2, 1, 19, 21, D, 48, false, 1e-3, D < 32 ? 0.6 : 0.35});
  for (const index_t R : {16, 32, 112, 256, 272}) check_call({1, 1, 18, 20, 16, R});
}

TEST_CASE("emulated performer: hidden keys, and a sample that has no others; no offset") {
  check_call({3, 2, 20, 37, 16, 32, true});
  check_call({1, 2, 20, 37, 16, 32, true, 0});
}

TEST_CASE("emulated performer: one gradient of the three") {
  const Call c({1, 1, 18, 20, 16, 32});
  const Results expected = by_formula(c);
  Memory memory;
  std::vector<bf16> y;
  const PerformerParams<bf16> p = params(c, memory, y);
  cuda::performer_passes(p);
  for (int which = 0; which < 3; ++which) {
    std::vector<bf16> grad(which == 0 ? c.q.size() : c.k.size(), bf16(NAN));
    PerformerBackwardParams<bf16> b;
    b.f = p, b.dy = c.dy.data(), b.dys = c.strides(c.n.Nq);
    b.dqs = c.strides(c.n.Nq), b.dks = b.dvs = c.strides(c.n.Nk);
    (which == 0 ? b.dq : which == 1 ? b.dk : b.dv) = grad.data();
    (which == 0 ? b.dq_mode : which == 1 ? b.dk_mode : b.dv_mode) = GradMode::overwrite;
    cuda::performer_backward_passes(b);
    CHECK(deviation(grad, which == 0 ? expected.dq : which == 1 ? expected.dk : expected.dv) < 1e-2);
  }
}

TEST_CASE("emulated performer: a NaN reaches its own output, or all of its head") {
  for (const bool in_key : {false, true}) {
    Call c({1, 2, 18, 20, 16, 32});
    (in_key ? c.k : c.q)[(5 * 2 + 1) * 16 + 3] = bf16(NAN);  // token 5, head 1
    Memory memory;
    std::vector<bf16> y;
    cuda::performer_passes(params(c, memory, y));
    const auto nans = std::count_if(y.begin(), y.end(), [](bf16 x) { return std::isnan(float(x)); });
    CHECK(nans == (in_key ? 18 * 16 : 16));
  }
}

TEST_CASE("emulated performer: refuses what it has no kernel or no room for") {
  const Call c({1, 1, 4, 4, 16, 32});
  Memory memory;
  std::vector<bf16> y;
  PerformerParams<bf16> p = params(c, memory, y);
  std::string why;
  const auto refuses = [&](PerformerParams<bf16> changed) { return !cuda::performer_fits(changed, &why); };
  PerformerParams<bf16> other = p;
  other.D = 12;
  CHECK(refuses(other));
  CHECK(why == "expected heads of 8, 16, 32 or 64 channels; got 12");
  other = p, other.R = 24;
  CHECK(refuses(other));
  CHECK(why == "expected 16, 32 … 512 features; got 24");
  other = p, other.scale = 0;
  CHECK(refuses(other));
  CHECK(why == "expected features with a positive scale");
  other = p, other.qs.row = 17;
  CHECK(refuses(other));
  CHECK(why == "expected rows aligned to 4 bytes");
  other = p, other.D = 64, other.R = 512;
  CHECK(refuses(other));
  CHECK(why == "337920 bytes of shared memory are more than a block can have");
}
