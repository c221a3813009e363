// kernels/causal_linear as it stands there, on emulated warps, against the sums over all pairs of
// tokens in double.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "causal_linear/entries.hpp"
#include "features.hpp"

namespace {

using namespace flr;

struct Sizes {
  index_t B, H, N, E, D;
  Feature feature = Feature::elu;
  bool normalize = true, hide = false;
};

/// Tokens as a network has them, [B,N,H,width].
struct Tokens {
  index_t N, H, width;
  HeadStrides strides() const { return {N * H * width, width, H * width}; }
  std::size_t at(index_t b, index_t h, index_t n, index_t c) const {
    return std::size_t(((b * N + n) * H + h) * width + c);
  }
};

template <class T>
struct Call {
  Sizes n;
  Tokens narrow{n.N, n.H, n.E}, wide{n.N, n.H, n.D};
  std::vector<T> q, k, v, dy;
  std::vector<std::uint8_t> keep;
  double scale = 0.7, epsilon = 1e-3;

  explicit Call(const Sizes& sizes) : n(sizes) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::vector<T>& x, index_t width) {
      for (index_t i = 0; i < n.B * n.N * n.H * width; ++i) x.emplace_back(normal(random));
    };
    draw(q, n.E), draw(k, n.E), draw(v, n.D), draw(dy, n.D);
    for (index_t i = 0; i < n.B * n.N; ++i) keep.push_back(i % 5 != 1);
  }
};

struct Reference {
  std::vector<double> y, dq, dk, dv;
};

template <class T>
Reference by_pairs(const Call<T>& c) {
  const Sizes& n = c.n;
  const auto E = std::size_t(n.E), D = std::size_t(n.D);
  Reference out{std::vector<double>(c.v.size()), std::vector<double>(c.q.size()),
                std::vector<double>(c.q.size()), std::vector<double>(c.v.size())};
  for (index_t b = 0; b < n.B; ++b)
    for (index_t h = 0; h < n.H; ++h) {
      std::vector<double> q, k, v, dy;
      for (index_t i = 0; i < n.N; ++i) {
        const bool kept = !n.hide || c.keep[std::size_t(b * n.N + i)];
        for (index_t e = 0; e < n.E; ++e) {
          q.push_back(feature(n.feature, float(c.q[c.narrow.at(b, h, i, e)])));
          k.push_back(kept ? feature(n.feature, float(c.k[c.narrow.at(b, h, i, e)])) : 0);
        }
        for (index_t d = 0; d < n.D; ++d) {
          v.push_back(float(c.v[c.wide.at(b, h, i, d)]));
          dy.push_back(float(c.dy[c.wide.at(b, h, i, d)]));
        }
      }
      const auto N = std::size_t(n.N);
      std::vector<double> dq(N * E), dk(N * E), dv(N * D);
      for (std::size_t i = 0; i < N; ++i) {
        std::vector<double> o(D), score(i + 1);
        double weight = c.epsilon;
        for (std::size_t j = 0; j <= i; ++j) {
          for (std::size_t e = 0; e < E; ++e) score[j] += q[i * E + e] * k[j * E + e];
          weight += score[j];
          for (std::size_t d = 0; d < D; ++d) o[d] += score[j] * v[j * D + d];
        }
        const double factor = n.normalize ? 1 / weight : c.scale;
        double dyy = 0;
        for (std::size_t d = 0; d < D; ++d) {
          out.y[c.wide.at(b, h, index_t(i), index_t(d))] = o[d] * factor;
          dyy += dy[i * D + d] * o[d] * factor;
        }
        for (std::size_t j = 0; j <= i; ++j) {
          double ds = n.normalize ? -dyy * factor : 0;
          for (std::size_t d = 0; d < D; ++d) {
            ds += dy[i * D + d] * factor * v[j * D + d];
            dv[j * D + d] += score[j] * dy[i * D + d] * factor;
          }
          for (std::size_t e = 0; e < E; ++e)
            dq[i * E + e] += ds * k[j * E + e], dk[j * E + e] += ds * q[i * E + e];
        }
      }
      for (index_t i = 0; i < n.N; ++i) {
        const bool kept = !n.hide || c.keep[std::size_t(b * n.N + i)];
        for (index_t e = 0; e < n.E; ++e) {
          const std::size_t at = c.narrow.at(b, h, i, e), from = std::size_t(i * n.E + e);
          out.dq[at] = dq[from] * slope(n.feature, float(c.q[at]));
          out.dk[at] = kept ? dk[from] * slope(n.feature, float(c.k[at])) : 0;
        }
        for (index_t d = 0; d < n.D; ++d)
          out.dv[c.wide.at(b, h, i, d)] = dv[std::size_t(i * n.D + d)];
      }
    }
  return out;
}

/// ‖x − expected − offset‖ relative to the expected, or to a tenth of `largest`: with one token y
/// is v but for epsilon, and gradients of queries and keys cancel.
template <class T>
double deviation(const std::vector<T>& got, const std::vector<double>& expected, double offset = 0,
                 double largest = 0) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = double(float(got[i])) - expected[i] - offset;
    difference += d * d, size += expected[i] * expected[i] + offset * offset;
  }
  return std::sqrt(difference) / std::max(std::sqrt(size), 0.1 * largest);
}
double norm_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

template <class T>
void check_call(const Sizes& n, double allowed) {
  CAPTURE(n.B);
  CAPTURE(n.H);
  CAPTURE(n.N);
  CAPTURE(n.E);
  CAPTURE(n.D);
  CAPTURE(int(n.feature));
  CAPTURE(n.normalize);
  CAPTURE(n.hide);
  Call<T> c(n);
  const Reference expected = by_pairs(c);
  // What is not written is seen; gradients of keys are added to what is there.
  std::vector<T> y(c.v.size(), T(NAN)), dq(c.q.size(), T(NAN)), dk(c.q.size(), T(1.0f)),
      dv(c.v.size(), T(NAN));
  std::vector<float> d(std::size_t(n.B * n.H * n.N), NAN);
  CausalLinearParams<T> p;
  p.B = n.B, p.H = n.H, p.N = n.N, p.E = n.E, p.D = n.D;
  p.normalize = n.normalize, p.feature = n.feature;
  p.scale = float(c.scale), p.epsilon = float(c.epsilon);
  p.q = c.q.data(), p.k = c.k.data(), p.v = c.v.data(), p.y = y.data(), p.d = d.data();
  p.qs = p.ks = c.narrow.strides(), p.vs = p.ys = c.wide.strides();
  if (n.hide) p.keep = c.keep.data(), p.keep_batch = n.N;
  std::string why;
  REQUIRE(cuda::causal_linear_fits(p, &why));
  cuda::causal_linear_segments(p);
  CausalLinearBackwardParams<T> b;
  b.f = p, b.dy = c.dy.data(), b.dys = c.wide.strides();
  b.dq = dq.data(), b.dk = dk.data(), b.dv = dv.data();
  b.dqs = b.dks = c.narrow.strides(), b.dvs = c.wide.strides();
  b.dq_mode = b.dv_mode = GradMode::overwrite, b.dk_mode = GradMode::accumulate;
  cuda::causal_linear_backward_segments(b);
  const double largest = norm_of(expected.dv);
  CHECK(deviation(y, expected.y) < allowed);
  CHECK(deviation(dq, expected.dq, 0, largest) < allowed);
  CHECK(deviation(dk, expected.dk, 1, largest) < allowed);
  CHECK(deviation(dv, expected.dv) < allowed);
}

void check_both(const Sizes& n) {
  check_call<float>(n, 5e-6);
  check_call<bf16>(n, 2e-2);
}

}  // namespace

TEST_CASE("emulated causal_linear: lengths and widths") {
  for (const index_t N : {1, 31, 33, 64, 65, 200})
    for (const auto& [E, D] :
         {std::pair<index_t, index_t>{16, 16}, {2, 3}, {8, 24}, {64, 64}, {33, 40}})
      check_both({1, 2, N, E, D});
  check_both({2, 3, 70, 32, 32});
}

TEST_CASE("emulated causal_linear: segments of several tiles") {
  check_both({1, 1, 1025, 16, 16});
  check_both({2, 1, 1025, 7, 32});
}

TEST_CASE("emulated causal_linear: features, masks, a scale instead of weights") {
  for (const Feature f :
       {Feature::relu, Feature::relu_squared, Feature::silu, Feature::elu, Feature::sigmoid})
    check_both({2, 2, 100, 16, 8, f, true, true});
  check_both({2, 2, 150, 16, 16, Feature::identity, false, false});
  check_both({1, 2, 65, 9, 5, Feature::identity, false, true});
}

TEST_CASE("emulated causal_linear: refuses what it has no registers for") {
  CausalLinearParams<float> p;
  p.B = p.H = p.N = 1, p.E = 65, p.D = 8;
  std::string why;
  CHECK(!cuda::causal_linear_fits(p, &why));
  CHECK(why == "expected tokens, and heads of at most 64 channels; got E=65 and D=8");
}
