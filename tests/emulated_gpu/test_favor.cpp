// kernels/favor as it stands there, on emulated warps, against the formulas in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "favor/entries.hpp"
#include "flr/core/favor_params.hpp"

namespace {

using namespace flr;

struct Sizes {
  index_t B, H, N, D, R;
  bool shared = true;  ///< one maximum for a head
  bool hide = false;
  bool ties = false;  ///< tokens and rows of few values, some of them twice
  double factor = 0.6;
};

template <class T>
struct Call {
  Sizes n;
  std::vector<T> x;  ///< tokens as a network has them, [B,N,H,D]
  std::vector<float> rows, dy;
  std::vector<std::uint8_t> keep;
  double scale = 0.5, offset = 1e-3;

  explicit Call(const Sizes& sizes) : n(sizes) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    const auto number = [&] {
      const float z = normal(random);
      return n.ties ? std::clamp(std::round(z), -1.0f, 1.0f) : z;
    };
    for (index_t i = 0; i < n.B * n.N * n.H * n.D; ++i) x.emplace_back(number());
    for (index_t i = 0; i < n.H * n.R * n.D; ++i) rows.push_back(number());
    for (index_t i = 0; i < n.B * n.H * n.N * n.R; ++i) dy.push_back(normal(random));
    for (index_t i = 0; i < n.B * n.N; ++i) keep.push_back(i % 5 != 1 && i / n.N != 1);
  }
  HeadStrides strides() const { return {n.N * n.H * n.D, n.D, n.H * n.D}; }
  std::size_t at(index_t b, index_t h, index_t i, index_t c) const {
    return std::size_t(((b * n.N + i) * n.H + h) * n.D + c);
  }
};

struct Reference {
  std::vector<double> y, dx;
};

/// Exponents whose difference is rounding are equal.
bool attains(double e, double most) {
  return most - e < 1e-9;
}

template <class T>
Reference by_formula(const Call<T>& c) {
  const Sizes& n = c.n;
  const auto N = std::size_t(n.N), R = std::size_t(n.R), D = std::size_t(n.D);
  Reference out{std::vector<double>(c.dy.size()), std::vector<double>(c.x.size())};
  for (index_t b = 0; b < n.B; ++b)
    for (index_t h = 0; h < n.H; ++h) {
      std::vector<double> x(N * D), e(N * R), slope(N * R);
      std::vector<bool> shown(N);
      for (std::size_t i = 0; i < N; ++i) {
        shown[i] = !n.hide || c.keep[std::size_t(b) * N + i];
        double square = 0;
        for (std::size_t k = 0; k < D; ++k) {
          x[i * D + k] = double(float(c.x[c.at(b, h, index_t(i), index_t(k))])) * n.factor;
          square += x[i * D + k] * x[i * D + k];
        }
        for (std::size_t r = 0; r < R; ++r) {
          double& v = e[i * R + r] = -square / 2;
          for (std::size_t k = 0; k < D; ++k)
            v += x[i * D + k] * double(c.rows[(std::size_t(h) * R + r) * D + k]);
          if (!shown[i]) v = -1e30;
        }
      }
      const std::size_t together = n.shared ? N * R : R;
      for (std::size_t begin = 0; begin < N * R; begin += together) {
        const double most = *std::max_element(e.begin() + std::ptrdiff_t(begin),
                                              e.begin() + std::ptrdiff_t(begin + together));
        double sum = 0, count = 0;
        for (std::size_t i = begin; i < begin + together; ++i) {
          const std::size_t at = std::size_t(b * n.H + h) * N * R + i;
          const double p = std::exp(e[i] - most) * c.scale;
          out.y[at] = p + c.offset;
          slope[i] = shown[i / R] ? double(c.dy[at]) * p : 0;
          sum += slope[i], count += attains(e[i], most);
        }
        for (std::size_t i = begin; i < begin + together; ++i)
          if (attains(e[i], most) && shown[i / R]) slope[i] -= sum / count;
      }
      for (std::size_t i = 0; i < N * R; ++i)
        for (std::size_t k = 0; k < D; ++k)
          out.dx[c.at(b, h, index_t(i / R), index_t(k))] +=
              n.factor * slope[i] *
              (double(c.rows[(std::size_t(h) * R + i % R) * D + k]) - x[i / R * D + k]);
    }
  return out;
}

template <class T>
double deviation(const std::vector<T>& got, const std::vector<double>& expected,
                 double offset = 0) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = double(float(got[i])) - expected[i] - offset;
    difference += d * d, size += expected[i] * expected[i] + offset * offset;
  }
  return std::sqrt(difference / std::max(size, 1e-30));  // of one feature all gradients are 0
}

template <class T>
void check_call(const Sizes& n, double allowed) {
  CAPTURE(n.B);
  CAPTURE(n.H);
  CAPTURE(n.N);
  CAPTURE(n.D);
  CAPTURE(n.R);
  CAPTURE(n.shared);
  CAPTURE(n.hide);
  CAPTURE(n.ties);
  const Call<T> c(n);
  const Reference expected = by_formula(c);
  std::vector<float> y(c.dy.size(), NAN), maximum(std::size_t(n.B * n.H), NAN);
  FavorParams<T> p;
  p.B = n.B, p.H = n.H, p.N = n.N, p.D = n.D, p.R = n.R;
  p.factor = float(n.factor), p.scale = float(c.scale), p.offset = float(c.offset);
  p.shared_maximum = n.shared;
  p.x = c.x.data(), p.xs = c.strides(), p.rows = c.rows.data();
  p.y = y.data(), p.maximum = maximum.data();
  if (n.hide) p.keep = c.keep.data(), p.keep_batch = n.N;
  std::string why;
  REQUIRE(cuda::favor_fits(p, &why));
  cuda::favor_passes(p);
  CHECK(deviation(y, expected.y) < 2e-6);
  // What is not written is seen; the second time gradients are added to what is there.
  for (const bool add : {false, true}) {
    std::vector<T> dx(c.x.size(), T(add ? 1.0f : NAN));
    FavorBackwardParams<T> b;
    b.f = p, b.f.y = nullptr, b.dy = c.dy.data();
    b.dx = dx.data(), b.dxs = c.strides();
    b.dx_mode = add ? GradMode::accumulate : GradMode::overwrite;
    cuda::favor_backward_passes(b);
    CHECK(deviation(dx, expected.dx, add ? 1 : 0) < allowed);
  }
}

void check_both(const Sizes& n) {
  check_call<float>(n, 5e-6);
  check_call<bf16>(n, 1e-2);
}

}  // namespace

TEST_CASE("emulated favor: lengths, widths, numbers of features") {
  for (const bool shared : {false, true}) {
    for (const index_t N : {1, 7, 64, 65, 130}) check_both({1, 2, N, 5, 33, shared});
    for (const index_t D : {1, 8, 16, 17, 40}) check_both({2, 1, 11, D, 20, shared});
    for (const index_t R : {1, 64, 65, 129, 256, 300, 513}) check_both({1, 1, 9, 6, R, shared});
  }
}

TEST_CASE("emulated favor: rows that do not fit in shared memory together") {
  for (const bool shared : {false, true}) {
    check_both({1, 1, 10, 128, 256, shared, false, false, 0.3});
    check_both({1, 2, 3, 35, 1024, shared, false, false, 0.3});
  }
}

TEST_CASE("emulated favor: hidden tokens, and a sample that has no others") {
  check_both({3, 2, 70, 8, 40, true, true});
  check_both({3, 2, 5, 8, 40, true, true});
}

TEST_CASE("emulated favor: a maximum that is attained several times") {
  // Halves: no exponent is rounded, and some are equal.
  for (const bool shared : {false, true}) check_both({1, 2, 90, 3, 70, shared, false, true, 0.5});
  check_both({3, 1, 90, 3, 70, true, true, true, 0.5});
}

TEST_CASE("emulated favor: a NaN reaches all features of its head, or its token's") {
  Call<float> c({1, 2, 100, 4, 40});
  c.x[c.at(0, 1, 77, 2)] = NAN;
  for (const bool shared : {false, true}) {
    std::vector<float> y(c.dy.size()), maximum(2);
    FavorParams<float> p;
    p.B = 1, p.H = 2, p.N = 100, p.D = 4, p.R = 40, p.shared_maximum = shared;
    p.x = c.x.data(), p.xs = c.strides(), p.rows = c.rows.data();
    p.y = y.data(), p.maximum = maximum.data();
    cuda::favor_passes(p);
    const auto nans = std::count_if(y.begin(), y.end(), [](float v) { return std::isnan(v); });
    CHECK(nans == (shared ? 100 * 40 : 40));
  }
}

TEST_CASE("emulated favor: refuses what it has no room for") {
  FavorParams<float> p;
  p.B = p.H = p.N = 1, p.D = 129, p.R = 8;
  std::string why;
  CHECK(!cuda::favor_fits(p, &why));
  CHECK(why == "expected tokens, at most 128 channels a head and 1024 features; got D=129 R=8");
  p.D = 16, p.R = 256;
  CHECK(cuda::favor_fits(p, &why));
  const int all = std::exchange(cuda::max_shared_bytes(), 64 * 1024);
  CHECK(!cuda::favor_fits(p, &why));
  CHECK(why == "86272 bytes of shared memory are more than a block can have");
  cuda::max_shared_bytes() = all;
}
