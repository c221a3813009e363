// Sums of outer products and what is read from them, as kernels/outer_product has them, on emulated
// warps. Operands are small whole numbers: every product and sum is exact, in bf16 and float alike,
// so a result differs from a plain loop's by the rounding of its storage and by nothing else.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "flr/core.hpp"
#include "outer_product/outer_product.hpp"

namespace {

using namespace flr;
using namespace flr::cuda::outer_product;

/// Sizes, and tokens as a network has them: [B,N,H,D] in memory, rows `gap` elements further apart.
struct Case {
  index_t B, H, N, D;
  int operands;
  index_t gap = 0;
  index_t row() const { return H * D + gap; }
  HeadStrides strides() const { return {N * row(), D, row()}; }
  index_t tokens() const { return B * N * row(); }
  index_t state() const { return B * H * power(D, operands); }
};

template <class T>
std::vector<T> whole_numbers(index_t n, int most) {
  std::vector<T> v;
  for (double x : randn<double>({n}).to_vector())
    v.emplace_back(static_cast<float>(std::clamp(std::round(x), -double(most), double(most))));
  return v;
}

template <class T>
struct Problem {
  Case c;
  std::vector<std::vector<T>> x;

  explicit Problem(const Case& c) : c(c) {
    for (int a = 0; a < c.operands; ++a) x.push_back(whole_numbers<T>(c.tokens(), 2));
  }
  double at(int a, index_t b, index_t h, index_t n, index_t i) const {
    const HeadStrides s = c.strides();
    return double(float(x[std::size_t(a)][std::size_t(b * s.batch + h * s.head + n * s.row + i)]));
  }
  template <class P>
  void describe(P& p) const {
    p.B = c.B, p.H = c.H, p.N = c.N, p.D = c.D, p.operands = c.operands;
    for (int a = 0; a < c.operands; ++a) p.x[a] = x[std::size_t(a)].data(), p.xs[a] = c.strides();
  }
  /// Digit a of an element of the state.
  index_t digit(index_t element, int a) const {
    return element / power(c.D, c.operands - 1 - a) % c.D;
  }
  /// The product of a token's numbers at an element of the state, without those of one axis.
  double product(index_t b, index_t h, index_t n, index_t element, int without) const {
    double f = 1;
    for (int a = 0; a < c.operands && f != 0; ++a)
      if (a != without) f *= at(a, b, h, n, digit(element, a));
    return f;
  }
};

template <class T>
T rounded(double x) {
  return T(static_cast<float>(x));
}

template <class T>
void check_state(const Problem<T>& x, bool accumulate) {
  const Case& c = x.c;
  const index_t size = power(c.D, c.operands);
  std::vector<T> got = whole_numbers<T>(c.state() + 8, 2);
  const std::vector<T> before = got;
  OuterStateParams<T> p;
  x.describe(p);
  p.scale = 0.25f, p.state = got.data();
  p.mode = accumulate ? GradMode::accumulate : GradMode::overwrite;
  state(p);
  index_t wrong = 0;
  for (index_t head = 0; head < c.B * c.H; ++head)
    for (index_t e = 0; e < size; ++e) {
      const std::size_t at = std::size_t(head * size + e);
      double sum = 0;
      for (index_t n = 0; n < c.N; ++n) sum += x.product(head / c.H, head % c.H, n, e, -1);
      sum = 0.25 * sum + (accumulate ? double(float(before[at])) : 0);
      wrong += !(float(got[at]) == float(rounded<T>(sum)));
    }
  CHECK(wrong == 0);
  for (std::size_t i = std::size_t(c.state()); i < got.size(); ++i)
    CHECK(float(got[i]) == float(before[i]));  // nothing beyond
}

template <class T>
void check_read(const Problem<T>& x, bool accumulate) {
  const Case& c = x.c;
  const index_t size = power(c.D, c.operands);
  const std::vector<T> state = whole_numbers<T>(c.state(), 2);
  OuterReadParams<T> p;
  x.describe(p);
  p.scale = 0.5f, p.state = state.data();
  std::vector<std::vector<T>> y;
  for (int a = 0; a < c.operands; ++a) y.push_back(whole_numbers<T>(c.tokens(), 2));
  const auto before = y;
  const int left = c.operands - 2;  // one axis is not wanted
  for (int a = 0; a < c.operands; ++a) {
    p.y[a] = y[std::size_t(a)].data(), p.ys[a] = c.strides();
    p.mode[a] = a == left    ? GradMode::ignore
                : accumulate ? GradMode::accumulate
                             : GradMode::overwrite;
  }
  read(p);
  index_t wrong = 0;
  std::vector<double> sum(std::size_t(c.D));
  for (int a = 0; a < c.operands; ++a) {
    std::vector<T> expected = before[std::size_t(a)];
    if (a != left)
      for (index_t head = 0; head < c.B * c.H; ++head)
        for (index_t n = 0; n < c.N; ++n) {
          std::fill(sum.begin(), sum.end(), 0);
          for (index_t e = 0; e < size; ++e)
            sum[std::size_t(x.digit(e, a))] += double(float(state[std::size_t(head * size + e)])) *
                                               x.product(head / c.H, head % c.H, n, e, a);
          for (index_t i = 0; i < c.D; ++i) {
            const HeadStrides s = c.strides();
            T& place =
                expected[std::size_t(head / c.H * s.batch + head % c.H * s.head + n * s.row + i)];
            place = rounded<T>(0.5 * sum[std::size_t(i)] + (accumulate ? double(float(place)) : 0));
          }
        }
    for (std::size_t i = 0; i < expected.size(); ++i)
      wrong += !(float(y[std::size_t(a)][i]) == float(expected[i]));
  }
  CHECK(wrong == 0);
}

template <class T>
void check(const Case& c, bool accumulate) {
  CAPTURE(c.B);
  CAPTURE(c.H);
  CAPTURE(c.N);
  CAPTURE(c.D);
  CAPTURE(c.operands);
  const Problem<T> x(c);
  check_state(x, accumulate);
  check_read(x, accumulate);
}

template <class T>
void check_all() {
  manual_seed(1);
  for (int operands : {2, 3, 4})
    for (index_t D : {8, 16, 32, 64}) {
      if (D > widest(operands - 1)) continue;
      const bool large = power(D, operands) > 10000;
      check<T>({1, 1, 1, D, operands}, false);
      check<T>({large ? 1 : 2, 2, 33, D, operands, 64}, true);
      if (!large) check<T>({1, 3, 31, D, operands}, false);
    }
  // Several splits, several tiles of a block.
  check<T>({1, 2, 1025, 8, 3}, false);
  check<T>({2, 1, 700, 16, 2}, true);
  check<T>({1, 1, 300, 16, 3}, false);
  check<T>({1, 1, 200, 64, 2}, true);
}

}  // namespace

TEST_CASE("outer products in bf16") {
  check_all<bf16>();
}
TEST_CASE("outer products in float") {
  check_all<float>();
}
