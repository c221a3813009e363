// What the tests of the CPU table share: values, comparisons against double, and runs that must not
// depend on the number of threads.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "flr/core.hpp"

namespace table_test {

using namespace flr;

/// Rounding error of one operation: half a unit in the last place of 1.
template <class T>
constexpr double unit = std::is_same_v<T, double>  ? 0x1p-53
                        : std::is_same_v<T, float> ? 0x1p-24
                                                   : 0x1p-8;

template <class T>
T make(double x) {
  return static_cast<T>(static_cast<compute_t<T>>(x));
}
template <class T>
double value(T x) {
  return static_cast<double>(static_cast<compute_t<T>>(x));
}

/// n values between −2 and 2 that are the same in every run.
template <class T>
std::vector<T> values(index_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> uniform(-2, 2);
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& v : x) v = make<T>(uniform(engine));
  return x;
}

inline std::vector<index_t> indices(index_t n, index_t end, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_int_distribution<index_t> uniform(0, end - 1);
  std::vector<index_t> x(static_cast<std::size_t>(n));
  for (index_t& v : x) v = uniform(engine);
  return x;
}

/// max |x − expected| / max |expected|, which `tolerance` bounds.
template <class T>
void check_close(const std::vector<T>& x, const std::vector<double>& expected, double tolerance) {
  REQUIRE(x.size() == expected.size());
  double error = 0, scale = 1e-300;
  index_t wrong = 0;  // not finite where it should be, or the reverse
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double got = value(x[i]), want = expected[i];
    if (!std::isfinite(want) || !std::isfinite(got)) {
      wrong += !(got == want || (std::isnan(got) && std::isnan(want)));
      continue;
    }
    error = std::fmax(error, std::abs(got - want));
    scale = std::fmax(scale, std::abs(want));
  }
  CHECK(wrong == 0);
  CHECK(error <= tolerance * scale);
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Runs `compute(std::vector<T>& y)` on one thread and on three, and wants the same bits.
template <class T, class Compute>
std::vector<T> on_any_threads(const std::vector<T>& start, Compute&& compute) {
  std::vector<T> one = start, three = start;
  set_num_threads(1);
  compute(one);
  set_num_threads(3);
  compute(three);
  set_num_threads(0);
  CHECK(same_bits(one, three));
  return one;
}

/// Calls visit(i, offsets in row-major order by `strides`).
template <class Visit>
void each(const Shape& shape, const Shape& strides, Visit&& visit) {
  for (index_t i = 0; i < shape.numel(); ++i) {
    index_t rest = i, offset = 0;
    for (int a = shape.rank() - 1; a >= 0; --a) {
      offset += rest % shape[a] * strides[a];
      rest /= shape[a];
    }
    visit(i, offset);
  }
}

}  // namespace table_test
