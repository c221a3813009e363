// Plain loops in double for the dense layers, and comparisons that are shown to notice an error.
#pragma once

#include "cpu_table_values.hpp"

namespace dense_test {

using namespace table_test;
using Values = std::vector<double>;

template <class T>
Values doubles(const std::vector<T>& x) {
  return Values(x.begin(), x.end());
}

/// max |x − expected| / max |expected|; infinite where a value is not finite.
template <class T>
double relative_error(const std::vector<T>& x, const Values& expected) {
  double error = 0, scale = 1e-300;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double e = std::abs(static_cast<double>(x.at(i)) - expected[i]);
    error = e <= error ? error : std::isfinite(e) ? e : INFINITY;
    scale = std::fmax(scale, std::abs(expected[i]));
  }
  return error / scale;
}

/// A sum of n rounded terms; the factor is what the kernels here stay below by half.
template <class T>
double sum_tolerance(index_t n) {
  return unit<T> * (8 + 4 * std::sqrt(static_cast<double>(n)));
}

/// Value and derivative of an activation.
struct Point {
  double value, slope;
};
inline Point activation(Activation act, double x) {
  const double pi = 3.14159265358979323846, s = 1 / (1 + std::exp(-x));
  const double rest = 1 / (1 + std::exp(x));  // 1 − s without cancellation
  switch (act) {
    case Activation::identity: return {x, 1};
    case Activation::relu: return {x > 0 ? x : 0, x > 0 ? 1.0 : 0.0};
    case Activation::gelu: {
      const double cdf = 0.5 * std::erfc(-x / std::sqrt(2.0));
      return {x * cdf, cdf + x * std::exp(-x * x / 2) / std::sqrt(2 * pi)};
    }
    case Activation::gelu_tanh: {
      // ½(1 + tanh u) = 1/(1 + e^(−2u)), without the cancellation of the former.
      const double k = 2 * std::sqrt(2 / pi), u2 = k * (x + 0.044715 * x * x * x);
      const double half = 1 / (1 + std::exp(-u2));
      return {x * half, half + x * half / (1 + std::exp(u2)) * k * (1 + 3 * 0.044715 * x * x)};
    }
    case Activation::silu: return {x * s, s + x * s * rest};
    case Activation::tanh: return {std::tanh(x), 1 - std::tanh(x) * std::tanh(x)};
    case Activation::sigmoid: return {s, s * rest};
  }
  return {NAN, NAN};
}
inline constexpr Activation activations[] = {
    Activation::identity, Activation::relu, Activation::gelu,   Activation::gelu_tanh,
    Activation::silu,     Activation::tanh, Activation::sigmoid};

/// y[rows,out] = x wᵀ + b; b may be empty.
inline Values affine(index_t rows, index_t in, index_t out, const Values& x, const Values& w,
                     const Values& b) {
  Values y(static_cast<std::size_t>(rows * out));
  for (index_t r = 0; r < rows; ++r)
    for (index_t o = 0; o < out; ++o) {
      double sum = b.empty() ? 0 : b[static_cast<std::size_t>(o)];
      for (index_t i = 0; i < in; ++i)
        sum += x[static_cast<std::size_t>(r * in + i)] * w[static_cast<std::size_t>(o * in + i)];
      y[static_cast<std::size_t>(r * out + o)] = sum;
    }
  return y;
}

/// Gradients of affine.
struct AffineGradients {
  Values dx, dw, db;
};
inline AffineGradients affine_backward(index_t rows, index_t in, index_t out, const Values& x,
                                       const Values& w, const Values& dy) {
  AffineGradients g{Values(x.size()), Values(w.size()), Values(static_cast<std::size_t>(out))};
  for (index_t r = 0; r < rows; ++r)
    for (index_t o = 0; o < out; ++o) {
      const double d = dy[static_cast<std::size_t>(r * out + o)];
      g.db[static_cast<std::size_t>(o)] += d;
      for (index_t i = 0; i < in; ++i) {
        g.dx[static_cast<std::size_t>(r * in + i)] += d * w[static_cast<std::size_t>(o * in + i)];
        g.dw[static_cast<std::size_t>(o * in + i)] += d * x[static_cast<std::size_t>(r * in + i)];
      }
    }
  return g;
}

inline constexpr GradMode modes[] = {GradMode::ignore, GradMode::overwrite, GradMode::accumulate};

/// What a destination that held `before` must hold after a gradient came in this mode.
inline Values received(GradMode mode, const Values& before, const Values& gradient) {
  if (mode == GradMode::ignore) return before;
  Values r = gradient;
  if (mode == GradMode::accumulate)
    for (std::size_t i = 0; i < r.size(); ++i) r[i] += before[i];
  return r;
}

/// Checks x, and that a hundredth of the largest value in the last place of x would be noticed.
template <class T>
void check_near(const std::vector<T>& x, const Values& expected, double tolerance) {
  CHECK(relative_error(x, expected) <= tolerance);
  if (expected.empty()) return;
  Values wrong = expected;
  double largest = 0;
  for (const double v : expected) largest = std::fmax(largest, std::abs(v));
  wrong.back() += 0.01 * largest + 1e-6;
  CHECK(relative_error(x, wrong) > tolerance);
}

}  // namespace dense_test
