// kernels/linear_attention as it stands there, on emulated warps, against plain sums in double.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "features.hpp"
#include "flr/core/precision.hpp"
#include "linear_attention/entries.hpp"

namespace {

using namespace flr;

struct Sizes {
  index_t B, H, Nq, Nk, D;
  Feature feature = Feature::elu;
  bool hide = false;
  index_t gap = 0;  ///< between the rows of tokens
  bool unit_q = false, unit_k = false;
  index_t row() const { return H * D + gap; }
  HeadStrides strides(index_t N) const { return {N * row(), D, row()}; }
  std::size_t at(index_t N, index_t b, index_t h, index_t n, index_t c) const {
    return std::size_t((b * N + n) * row() + h * D + c);
  }
};

template <class T>
struct Call {
  Sizes n;
  std::vector<T> q, k, v, dy;
  std::vector<std::uint8_t> keep;
  double epsilon = 1e-3;

  explicit Call(const Sizes& sizes) : n(sizes) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::vector<T>& x, index_t N, float mean) {
      for (index_t i = 0; i < n.B * N * n.row(); ++i) x.emplace_back(mean + normal(random));
    };
    // A mean keeps denominators of signed features away from 0.
    draw(q, n.Nq, 1), draw(k, n.Nk, 1), draw(v, n.Nk, 0), draw(dy, n.Nq, 0);
    for (index_t i = 0; i < n.B * n.Nk; ++i) keep.push_back(i % 5 != 1);
  }
};

struct Reference {
  std::vector<double> y, dq, dk, dv;
};

/// Features of a token's head, over their length if `unit`.
std::vector<double> features_of(const Sizes& n, const auto& x, std::size_t at, bool unit) {
  std::vector<double> f(std::size_t(n.D));
  double square = 0;
  for (std::size_t i = 0; i < f.size(); ++i) f[i] = feature(n.feature, float(x[at + i])), square += f[i] * f[i];
  for (double& v : f) v /= unit ? std::sqrt(square) + 1e-6 : 1;
  return f;
}
/// The gradient of x[at …] from that of its features.
std::vector<double> back_through(const Sizes& n, const auto& x, std::size_t at, bool unit, std::vector<double> g) {
  const auto f = features_of(n, x, at, false), u = features_of(n, x, at, true);
  double square = 0, along = 0;
  for (std::size_t i = 0; i < g.size(); ++i) square += f[i] * f[i], along += g[i] * u[i];
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (unit) g[i] = g[i] / (std::sqrt(square) + 1e-6) - along * f[i] / (square + 1e-6 * std::sqrt(square));
    g[i] *= slope(n.feature, float(x[at + i]));
  }
  return g;
}

template <class T>
Reference by_sums(const Call<T>& c) {
  const Sizes& n = c.n;
  const auto D = std::size_t(n.D);
  Reference out{std::vector<double>(c.q.size()), std::vector<double>(c.q.size()),
                std::vector<double>(c.k.size()), std::vector<double>(c.k.size())};
  for (index_t b = 0; b < n.B; ++b)
    for (index_t h = 0; h < n.H; ++h) {
      std::vector<double> S(D * D), z(D), R(D * D), w(D), f(D);
      const auto kept = [&](index_t j) { return !n.hide || c.keep[std::size_t(b * n.Nk + j)]; };
      const auto each = [&](auto body) {
        for (std::size_t i = 0; i < D; ++i) body(i);
      };
      for (index_t j = 0; j < n.Nk; ++j) {
        if (!kept(j)) continue;
        const std::size_t at = n.at(n.Nk, b, h, j, 0);
        const auto fk = features_of(n, c.k, at, n.unit_k);
        each([&](std::size_t i) {
          const double x = fk[i];
          z[i] += x;
          each([&](std::size_t d) { S[i * D + d] += x * float(c.v[at + d]); });
        });
      }
      for (index_t j = 0; j < n.Nq; ++j) {
        const std::size_t at = n.at(n.Nq, b, h, j, 0);
        double weight = c.epsilon, along = 0;
        f = features_of(n, c.q, at, n.unit_q);
        each([&](std::size_t i) { weight += f[i] * z[i]; });
        each([&](std::size_t d) {
          double o = 0;
          each([&](std::size_t i) { o += f[i] * S[i * D + d]; });
          out.y[at + d] = o / weight;
          along += o / weight * float(c.dy[at + d]);
        });
        std::vector<double> grad(D);
        each([&](std::size_t i) {
          double g = -along * z[i];
          each([&](std::size_t d) {
            g += S[i * D + d] * float(c.dy[at + d]);
            R[i * D + d] += f[i] * float(c.dy[at + d]) / weight;
          });
          w[i] -= f[i] * along / weight;
          grad[i] = g / weight;
        });
        grad = back_through(n, c.q, at, n.unit_q, grad);
        each([&](std::size_t i) { out.dq[at + i] = grad[i]; });
      }
      for (index_t j = 0; j < n.Nk; ++j) {
        if (!kept(j)) continue;
        const std::size_t at = n.at(n.Nk, b, h, j, 0);
        const auto fk = features_of(n, c.k, at, n.unit_k);
        std::vector<double> grad(D);
        each([&](std::size_t i) {
          double g = w[i];
          each([&](std::size_t d) {
            g += R[i * D + d] * float(c.v[at + d]);
            out.dv[at + d] += fk[i] * R[i * D + d];
          });
          grad[i] = g;
        });
        grad = back_through(n, c.k, at, n.unit_k, grad);
        each([&](std::size_t i) { out.dk[at + i] = grad[i]; });
      }
    }
  return out;
}

double norm_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}
/// ‖got − expected − offset‖ over the channels of heads, relative to what is expected, or to a tenth
/// of `largest`. Between the rows nothing may have changed.
template <class T>
double deviation(const Sizes& n, const std::vector<T>& got, const std::vector<double>& expected,
                 double offset, double largest) {
  double difference = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (index_t(i) % n.row() >= n.H * n.D) {
      CHECK(float(got[i]) == 1.0f);
      continue;
    }
    const double d = double(float(got[i])) - expected[i] - offset;
    difference += d * d;
  }
  const double scale = std::hypot(norm_of(expected), offset * std::sqrt(double(got.size())));
  return std::sqrt(difference) / std::max(scale, 0.1 * largest);
}

template <class T>
void check_call(const Sizes& n, double allowed) {
  CAPTURE(n.B);
  CAPTURE(n.H);
  CAPTURE(n.Nq);
  CAPTURE(n.Nk);
  CAPTURE(n.D);
  CAPTURE(int(n.feature));
  CAPTURE(n.hide);
  Call<T> c(n);
  const Reference expected = by_sums(c);
  // Ones: gradients of keys are added to them, and what lies between rows stays.
  std::vector<T> y(c.q.size(), T(1.0f)), dq(y), dk(c.k.size(), T(1.0f)), dv(dk);
  std::vector<float> state(std::size_t(n.B * n.H * n.D * (n.D + 1)), NAN);
  LinearAttentionParams<T> p;
  p.B = n.B, p.H = n.H, p.Nq = n.Nq, p.Nk = n.Nk, p.D = n.D;
  p.feature = n.feature, p.epsilon = float(c.epsilon);
  p.unit_q = n.unit_q, p.unit_k = n.unit_k;
  p.q = c.q.data(), p.k = c.k.data(), p.v = c.v.data(), p.y = y.data(), p.state = state.data();
  p.qs = p.ys = n.strides(n.Nq), p.ks = p.vs = n.strides(n.Nk);
  if (n.hide) p.keep = c.keep.data(), p.keep_batch = n.Nk;
  std::string why;
  REQUIRE(cuda::linear_attention_fits(p, &why));
  cuda::linear_attention_passes(p);
  LinearAttentionBackwardParams<T> b;
  b.f = p, b.dy = c.dy.data(), b.dys = n.strides(n.Nq);
  b.dq = dq.data(), b.dk = dk.data(), b.dv = dv.data();
  b.dqs = n.strides(n.Nq), b.dks = b.dvs = n.strides(n.Nk);
  b.dq_mode = b.dv_mode = GradMode::overwrite, b.dk_mode = GradMode::accumulate;
  cuda::linear_attention_backward_passes(b);
  const double largest = norm_of(expected.dv);
  CHECK(deviation(n, y, expected.y, 0, 0) < allowed);
  CHECK(deviation(n, dq, expected.dq, 0, largest) < allowed);
  CHECK(deviation(n, dk, expected.dk, 1, largest) < allowed);
  CHECK(deviation(n, dv, expected.dv, 0, 0) < allowed);
}

void check_both(const Sizes& n) {
  check_call<float>(n, 3e-6);
  check_call<bf16>(n, 1.5e-2);
}

}  // namespace

TEST_CASE("emulated linear attention: lengths and widths") {
  for (const index_t D : {8, 16, 24, 32, 40, 64}) check_both({1, 3, 33, 31, D});
  for (const index_t D : {16, 64}) check_both({1, 3, 1, 1, D});
  check_both({2, 5, 20, 70, 16, Feature::elu, true, 64});
  check_both({2, 2, 70, 20, 64, Feature::elu, true, 64});
}

TEST_CASE("emulated linear attention: several splits and tiles") {
  check_both({1, 2, 1025, 1025, 16});
  check_both({3, 8, 200, 200, 8, Feature::elu, true});
  check_both({2, 2, 200, 129, 64});
}

TEST_CASE("emulated linear attention: features") {
  for (int f = 0; f <= int(Feature::gelu); ++f) check_both({1, 2, 40, 40, 16, Feature(f), true});
}

TEST_CASE("emulated linear attention: features of length 1") {
  for (const index_t D : {8, 16, 24, 32})
    for (const Feature f : {Feature::identity, Feature::elu})
      check_both({1, 3, 33, 50, D, f, true, 0, true, true});
  check_both({1, 2, 20, 20, 16, Feature::silu, false, 0, true, false});
  check_both({1, 2, 20, 20, 16, Feature::silu, false, 0, false, true});
}

TEST_CASE("emulated linear attention: features next to nothing still have gradients") {
  // ‖φ‖ = 10⁻¹⁴ vanishes beside the 10⁻⁶ that is added to it.
  Call<float> c({1, 1, 20, 20, 8, Feature::relu_squared, false, 0, true, true});
  for (std::size_t i = 0; i < 16; ++i) c.q[i] = c.k[i] = i % 8 == 0 ? 1e-7f : -1.0f;
  std::vector<float> y(c.q.size()), dq(y), dk(y), dv(y), state(8 * 9);
  LinearAttentionParams<float> p;
  p.B = p.H = 1, p.Nq = p.Nk = 20, p.D = 8, p.feature = c.n.feature, p.epsilon = 1e-3f;
  p.unit_q = p.unit_k = true;
  p.q = c.q.data(), p.k = c.k.data(), p.v = c.v.data(), p.y = y.data(), p.state = state.data();
  p.qs = p.ys = p.ks = p.vs = c.n.strides(20);
  cuda::linear_attention_passes(p);
  LinearAttentionBackwardParams<float> b;
  b.f = p, b.dy = c.dy.data(), b.dq = dq.data(), b.dk = dk.data(), b.dv = dv.data();
  b.dys = b.dqs = b.dks = b.dvs = p.qs;
  b.dq_mode = b.dk_mode = b.dv_mode = GradMode::overwrite;
  cuda::linear_attention_backward_passes(b);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::isfinite(y[i] + dq[i] + dk[i] + dv[i]));
}

TEST_CASE("emulated linear attention: products of tf32 are better than tf32's") {
  set_matmul_precision(MatmulPrecision::tf32);
  check_call<float>({1, 2, 100, 100, 16}, 5e-5);
  set_matmul_precision(MatmulPrecision::fp32);
}

TEST_CASE("emulated linear attention: refuses widths and addresses that it cannot load") {
  std::vector<float> x(100);
  LinearAttentionParams<float> p;
  p.B = p.H = p.Nq = p.Nk = 1, p.D = 12;
  p.q = p.k = p.v = x.data();
  std::string why;
  CHECK(!cuda::linear_attention_fits(p, &why));
  CHECK(why == "expected heads of 8, 16 … 64 channels; got 12");
  p.D = 40, p.unit_k = true;
  CHECK(!cuda::linear_attention_fits(p, &why));
  CHECK(why == "expected heads of at most 32 channels for features of length 1; got 40");
  p.D = 8, p.ks.row = 9;
  CHECK(!cuda::linear_attention_fits(p, &why));
  CHECK(why == "expected rows aligned to 16 bytes");
}
