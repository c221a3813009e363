// kernels/causal_flare as it stands there, on emulated warps, against the sums over all pairs of
// tokens in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "causal_flare/entries.hpp"

namespace {

using namespace flr;

struct Sizes {
  index_t B, H, M, N, E, D;
  double spread = 1;   ///< of the scores
  int hide = 0;        ///< 1: every fifth token, 2: the first 70 too
  bool shared = true;  ///< one set of latents for the batch
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
  double scale = 0.7;

  explicit Call(const Sizes& sizes) : n(sizes) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::vector<T>& x, index_t rows, index_t width, double spread) {
      for (index_t i = 0; i < rows * n.H * width; ++i)
        x.emplace_back(float(spread) * normal(random));
    };
    draw(q, (n.shared ? 1 : n.B) * n.M, n.E, n.spread / std::sqrt(double(n.E)));
    draw(k, n.B * n.N, n.E, 1), draw(v, n.B * n.N, n.D, 1), draw(dy, n.B * n.N, n.D, 1);
    for (index_t i = 0; i < n.B * n.N; ++i)
      keep.push_back(i % 5 != 1 && !(n.hide == 2 && i % n.N < 70));
  }
  HeadStrides latents() const { return {n.shared ? 0 : n.H * n.M * n.E, n.M * n.E, n.E}; }
  bool kept(index_t b, index_t i) const { return !n.hide || keep[std::size_t(b * n.N + i)]; }

  CausalFlareParams<T> params(T* y) const {
    CausalFlareParams<T> p;
    p.B = n.B, p.H = n.H, p.M = n.M, p.N = n.N, p.E = n.E, p.D = n.D, p.scale = float(scale);
    p.q = q.data(), p.k = k.data(), p.v = v.data(), p.y = y;
    p.qs = latents(), p.ks = narrow.strides(), p.vs = p.ys = wide.strides();
    if (n.hide) p.keep = keep.data(), p.keep_batch = n.N;
    return p;
  }
};

struct Reference {
  std::vector<double> y, dq, dk, dv;
};

template <class T>
Reference by_pairs(const Call<T>& c) {
  const Sizes& n = c.n;
  const auto N = std::size_t(n.N), M = std::size_t(n.M), E = std::size_t(n.E), D = std::size_t(n.D);
  Reference out{std::vector<double>(c.v.size()), std::vector<double>(c.q.size()),
                std::vector<double>(c.k.size()), std::vector<double>(c.v.size())};
  for (index_t b = 0; b < n.B; ++b)
    for (index_t h = 0; h < n.H; ++h) {
      const std::size_t latents = std::size_t(b * c.latents().batch + h * c.latents().head);
      const auto k = [&](std::size_t i, std::size_t e) {
        return c.narrow.at(b, h, index_t(i), index_t(e));
      };
      const auto v = [&](std::size_t i, std::size_t d) {
        return c.wide.at(b, h, index_t(i), index_t(d));
      };
      std::vector<double> s(N * M), p(N * M), ds(N * M);
      for (std::size_t t = 0; t < N; ++t) {
        double top = -INFINITY, sum = 0;
        for (std::size_t m = 0; m < M; ++m) {
          for (std::size_t e = 0; e < E; ++e)
            s[t * M + m] +=
                c.scale * double(float(c.k[k(t, e)])) * double(float(c.q[latents + m * E + e]));
          top = std::max(top, s[t * M + m]);
        }
        for (std::size_t m = 0; m < M; ++m) sum += p[t * M + m] = std::exp(s[t * M + m] - top);
        for (std::size_t m = 0; m < M; ++m) p[t * M + m] /= sum;
      }
      for (std::size_t m = 0; m < M; ++m) {
        double lse = -INFINITY;
        for (std::size_t t = 0; t < N; ++t) {
          const double x = s[t * M + m];
          if (c.kept(b, index_t(t)))
            lse = std::max(lse, x) + std::log1p(std::exp(-std::abs(lse - x)));
          if (lse == -INFINITY) continue;
          // z of the latent now, and its gradient p g.
          std::vector<double> z(D);
          for (std::size_t i = 0; i <= t; ++i) {
            if (!c.kept(b, index_t(i))) continue;
            const double w = std::exp(s[i * M + m] - lse);
            for (std::size_t d = 0; d < D; ++d) {
              z[d] += w * double(float(c.v[v(i, d)]));
              out.dv[v(i, d)] += w * p[t * M + m] * double(float(c.dy[v(t, d)]));
            }
          }
          double dp = 0;
          for (std::size_t d = 0; d < D; ++d) {
            out.y[v(t, d)] += p[t * M + m] * z[d];
            dp += z[d] * double(float(c.dy[v(t, d)]));
          }
          for (std::size_t l = 0; l < M; ++l)
            ds[t * M + l] += dp * p[t * M + m] * ((l == m) - p[t * M + l]);
          for (std::size_t i = 0; i <= t; ++i) {
            if (!c.kept(b, index_t(i))) continue;
            double slope = -dp;
            for (std::size_t d = 0; d < D; ++d)
              slope += double(float(c.dy[v(t, d)])) * double(float(c.v[v(i, d)]));
            ds[i * M + m] += std::exp(s[i * M + m] - lse) * p[t * M + m] * slope;
          }
        }
      }
      for (std::size_t t = 0; t < N; ++t)
        for (std::size_t m = 0; m < M; ++m)
          for (std::size_t e = 0; e < E; ++e) {
            out.dk[k(t, e)] += c.scale * ds[t * M + m] * double(float(c.q[latents + m * E + e]));
            out.dq[latents + m * E + e] += c.scale * ds[t * M + m] * double(float(c.k[k(t, e)]));
          }
    }
  return out;
}

double norm_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}
/// ‖x − expected − offset‖ relative to the expected, or to a tenth of `largest`: gradients of
/// scores cancel, all of them where there is one token or one latent.
template <class T>
double deviation(const std::vector<T>& got, const std::vector<double>& expected, double offset = 0,
                 double largest = 0) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = double(float(got[i])) - expected[i] - offset;
    difference += std::isfinite(d) ? d * d : INFINITY,
        size += expected[i] * expected[i] + offset * offset;
  }
  return std::sqrt(difference) / std::max(std::sqrt(size), 0.1 * largest);
}

template <class T>
struct Results {
  std::vector<T> y, dq, dk, dv;
};

/// What is not written is seen; gradients of keys are added to what is there.
template <class T>
Results<T> run(const Call<T>& c) {
  Results<T> r{std::vector<T>(c.v.size(), T(NAN)), std::vector<T>(c.q.size(), T(NAN)),
               std::vector<T>(c.k.size(), T(1.0f)), std::vector<T>(c.v.size(), T(NAN))};
  const CausalFlareParams<T> p = c.params(r.y.data());
  std::string why;
  REQUIRE(cuda::causal_flare_fits(p, &why));
  cuda::causal_flare_segments(p);
  CausalFlareBackwardParams<T> b;
  b.f = p, b.dy = c.dy.data(), b.dys = c.wide.strides();
  b.dq = r.dq.data(), b.dk = r.dk.data(), b.dv = r.dv.data();
  b.dqs = c.latents(), b.dks = c.narrow.strides(), b.dvs = c.wide.strides();
  b.dq_mode = b.dv_mode = GradMode::overwrite, b.dk_mode = GradMode::accumulate;
  cuda::causal_flare_backward_segments(b);
  return r;
}

template <class T>
void check_call(const Sizes& n, double allowed) {
  CAPTURE(n.B);
  CAPTURE(n.H);
  CAPTURE(n.M);
  CAPTURE(n.N);
  CAPTURE(n.E);
  CAPTURE(n.D);
  CAPTURE(n.spread);
  CAPTURE(n.hide);
  CAPTURE(sizeof(T));
  const Call<T> c(n);
  const Reference expected = by_pairs(c);
  const Results<T> got = run(c);
  const double largest = norm_of(expected.dv);
  CHECK(deviation(got.y, expected.y) < allowed);
  CHECK(deviation(got.dq, expected.dq, 0, largest) < allowed);
  CHECK(deviation(got.dk, expected.dk, 1, largest) < allowed);
  CHECK(deviation(got.dv, expected.dv) < allowed);
}

void check_both(const Sizes& n, double of_float = 5e-6, double of_bf16 = 8e-3) {
  check_call<float>(n, of_float);
  check_call<bf16>(n, of_bf16);
}

}  // namespace

TEST_CASE("emulated causal_flare: lengths") {
  // Of one token, the scores' gradients cancel.
  for (const index_t N : {1, 31, 64, 65, 300})
    check_both({1, 2, 5, N, 8, 8}, 5e-6, N == 1 ? 2e-2 : 8e-3);
}

TEST_CASE("emulated causal_flare: latents and widths") {
  for (const index_t M : {1, 32, 100, 128}) check_both({1, 1, M, 65, 16, 16});
  for (const auto& [E, D] :
       {std::pair<index_t, index_t>{24, 24}, {32, 32}, {64, 64}, {2, 3}, {33, 40}})
    check_both({1, 1, 33, 65, E, D});
  check_both({1, 1, 128, 65, 64, 64});
}

TEST_CASE("emulated causal_flare: segments of several tiles") {
  check_both({1, 1, 32, 2100, 8, 8});
  check_both({2, 1, 5, 1025, 7, 32});
}

TEST_CASE("emulated causal_flare: batches and masks") {
  check_both({2, 2, 20, 150, 16, 16, 1, 1});
  check_both({2, 1, 20, 150, 16, 16, 1, 2, false});
  check_both({1, 1, 33, 1100, 8, 16, 1, 2});
}

TEST_CASE("emulated causal_flare: scores of any size, so that tiles are several ranges") {
  // Where softmaxes are all but 0 and 1, the rounded terms of the scores' gradients cancel.
  check_both({1, 1, 5, 130, 8, 8, 100}, 1e-4, 0.1);
  check_both({1, 1, 33, 130, 8, 8, 100, 1}, 1e-4, 0.1);
  check_both({1, 1, 3, 200, 4, 4, 1000, 2}, 1e-3, 0.1);
}

TEST_CASE("emulated causal_flare: a state goes on, and the same call gives the same bits") {
  for (const int hide : {0, 2}) {
    const Call<float> c({2, 2, 5, 300, 8, 8, 1, hide});
    const Results<float> whole = run(c), again = run(c);
    CHECK(whole.y == again.y);
    CHECK(whole.dq == again.dq);
    CHECK(whole.dk == again.dk);
    CHECK(whole.dv == again.dv);
    std::vector<float> y(c.v.size(), NAN), lse(2 * 2 * 5, NAN), z(lse.size() * 8, NAN);
    for (const auto& [first, end] :
         {std::pair<index_t, index_t>{0, 20}, {20, 21}, {21, 221}, {221, 300}}) {
      CausalFlareParams<float> p = c.params(y.data());
      const index_t on = first * p.ks.row;
      p.N = end - first, p.k += on, p.v += on, p.y += on;
      if (p.keep) p.keep += first;
      const std::vector<float> lse_in = lse, z_in = z;
      if (first > 0) p.lse_in = lse_in.data(), p.z_in = z_in.data();
      p.lse_out = lse.data(), p.z_out = z.data();
      cuda::causal_flare_segments(p);
      if (end <= 70 && hide == 2)
        for (std::size_t i = 0; i < lse.size(); ++i) CHECK(lse[i] == -1e30f);
    }
    CHECK(deviation(y, std::vector<double>(whole.y.begin(), whole.y.end())) < 2e-6);
    // The last state, from the definition.
    for (const index_t b : {0, 1})
      for (const index_t m : {0, 4}) {
        double top = 0, sum = 0, first_of_z = 0;
        for (index_t t = 0; t < 300; ++t) {
          if (!c.kept(b, t)) continue;
          double s = 0;
          for (index_t e = 0; e < 8; ++e)
            s += c.scale * double(c.k[c.narrow.at(b, 1, t, e)]) *
                 double(c.q[std::size_t((5 + m) * 8 + e)]);
          const double weight = std::exp(s - top);
          sum += weight, first_of_z += weight * double(c.v[c.wide.at(b, 1, t, 0)]);
        }
        const auto at = std::size_t((b * 2 + 1) * 5 + m);
        CHECK(double(lse[at]) == doctest::Approx(std::log(sum)).epsilon(1e-5));
        CHECK(double(z[at * 8]) == doctest::Approx(first_of_z / sum).epsilon(1e-4));
      }
  }
}

TEST_CASE("emulated causal_flare: heads in groups") {
  index_t& scratch = cuda::causal_flare_scratch();
  const index_t usual = scratch, of_head = 100 * 32 * index_t{sizeof(float)};
  for (const index_t bytes :
       {index_t{1}, 2 * of_head, 7 * of_head}) {  // one, two, two batches of three
    scratch = bytes;
    check_call<float>({3, 3, 5, 100, 8, 8, 1, 1, false}, 5e-6);
    check_call<float>({3, 3, 5, 100, 8, 8, 1, 1, true}, 5e-6);
  }
  scratch = usual;
}

TEST_CASE("emulated causal_flare: gradients that are not wanted") {
  const Call<bf16> c({1, 2, 20, 100, 16, 16, 1, 1});
  const Results<bf16> all = run(c);
  for (int wanted = 0; wanted < 3; ++wanted) {
    CAPTURE(wanted);
    std::vector<bf16> got(std::max(c.q.size(), c.k.size()), bf16(1.0f));
    CausalFlareBackwardParams<bf16> b;
    b.f = c.params(nullptr), b.dy = c.dy.data(), b.dys = c.wide.strides();
    b.dqs = c.latents(), b.dks = c.narrow.strides(), b.dvs = c.wide.strides();
    b.dq = b.dk = b.dv = got.data();
    (wanted == 0   ? b.dq_mode
     : wanted == 1 ? b.dk_mode
                   : b.dv_mode) = wanted == 1 ? GradMode::accumulate : GradMode::overwrite;
    cuda::causal_flare_backward_segments(b);
    const std::vector<bf16>& expected = wanted == 0 ? all.dq : wanted == 1 ? all.dk : all.dv;
    for (std::size_t i = 0; i < expected.size(); ++i) REQUIRE(got[i].bits == expected[i].bits);
  }
}

TEST_CASE("emulated causal_flare: refuses what it has no registers for") {
  CausalFlareParams<float> p;
  p.B = p.H = p.N = 1, p.M = 129, p.E = p.D = 8;
  std::string why;
  CHECK(!cuda::causal_flare_fits(p, &why));
  CHECK(why ==
        "expected tokens, at most 128 latents and heads of at most 64 channels; got M=129 E=8 D=8");
  p.M = 128, p.E = 64;
  CHECK(cuda::causal_flare_fits(p, &why));
  cuda::max_shared_bytes() = 100 * 1024;
  CHECK(!cuda::causal_flare_fits(p, &why));
  CHECK(why.find("shared memory") != std::string::npos);
  cuda::max_shared_bytes() = 227 * 1024;
}
