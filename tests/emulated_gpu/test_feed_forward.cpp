// kernels/feed_forward as it stands there, on emulated warps, against the formulas in double. dx, a
// product of what the backward kernel leaves, is not here.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "activations.hpp"
#include "feed_forward/problem.hpp"

namespace {

using namespace flr;
namespace kernels = cuda::feed_forward;
using Doubles = std::vector<double>;

struct Case {
  index_t rows, channels, hidden;
  Activation act = Activation::gelu;
};

using emulated::activate, emulated::Error, emulated::slope;

constexpr float untouched = 2;
constexpr std::size_t guard = 8;  ///< numbers behind a result that must stay as they are

class Problem {
 public:
  explicit Problem(const Case& sizes) : c(sizes) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const auto draw = [&](index_t n, double size) {
      std::vector<bf16> values;
      for (index_t i = 0; i < n; ++i) values.emplace_back(float(size) * normal(random));
      return values;
    };
    x = draw(c.rows * c.channels, 1), dy = draw(c.rows * c.channels, 1);
    w1 = draw(c.hidden * c.channels, 1.5 / std::sqrt(double(c.channels))), b1 = draw(c.hidden, 0.5);
    w2 = draw(c.channels * c.hidden, 1 / std::sqrt(double(c.hidden))), b2 = draw(c.channels, 0.5);
  }

  void check_forward() const {
    std::vector<bf16> y(x.size() + guard, bf16(untouched));
    FeedForwardParams<bf16> p = params();
    p.y = y.data();
    kernels::forward(p);
    Error error;
    for (index_t i = 0; i < c.rows; ++i) {
      const Doubles h = hidden(i);
      for (index_t o = 0; o < c.channels; ++o) {
        double sum = b2[at(o)];
        for (index_t u = 0; u < c.hidden; ++u) sum += double(w2[at(o * c.hidden + u)]) * activate(c.act, h[at(u)]);
        error.add(y[at(i * c.channels + o)], sum);
      }
    }
    CHECK(error.below(4e-3));
    check_guard(y);
  }

  /// Rows from `first` on.
  void check_backward(index_t first) const {
    const index_t rows = c.rows - first, parts = kernels::backward_parts(params(), rows), size = c.hidden * c.channels;
    std::vector<bf16> dp(at(rows * c.hidden) + guard, bf16(untouched));
    const auto room = [&](index_t n) { return std::vector<float>(at(parts * n) + guard, untouched); };
    std::vector<float> dw1 = room(size), dw2 = room(size), db1 = room(c.hidden), db2 = room(c.channels);
    FeedForwardBackwardParams<bf16> p;
    p.f = params(), p.dy = dy.data();
    kernels::backward(p, first, rows, {dp.data(), dw1.data(), dw2.data(), db1.data(), db2.data()});

    Error of_dp, of_dw1, of_dw2, of_db1, of_db2;
    Doubles w1_sums(at(size)), w2_sums(at(size)), b1_sums(at(c.hidden)), b2_sums(at(c.channels));
    for (index_t i = first; i < c.rows; ++i) {
      const Doubles h = hidden(i);
      for (index_t o = 0; o < c.channels; ++o) b2_sums[at(o)] += double(dy[at(i * c.channels + o)]);
      for (index_t u = 0; u < c.hidden; ++u) {
        double sum = 0;
        for (index_t o = 0; o < c.channels; ++o)
          sum += double(w2[at(o * c.hidden + u)]) * double(dy[at(i * c.channels + o)]);
        sum *= slope(c.act, h[at(u)]);
        of_dp.add(dp[at((i - first) * c.hidden + u)], sum);
        b1_sums[at(u)] += sum;
        const double a = activate(c.act, h[at(u)]);
        for (index_t o = 0; o < c.channels; ++o) {
          w1_sums[at(u * c.channels + o)] += sum * double(x[at(i * c.channels + o)]);
          w2_sums[at(u * c.channels + o)] += a * double(dy[at(i * c.channels + o)]);
        }
      }
    }
    const auto compare = [&](Error& error, const std::vector<float>& partials, const Doubles& sums) {
      for (std::size_t i = 0; i < sums.size(); ++i) {
        double sum = 0;
        for (index_t part = 0; part < parts; ++part) sum += double(partials[at(part) * sums.size() + i]);
        error.add(sum, sums[i]);
      }
    };
    compare(of_dw1, dw1, w1_sums), compare(of_dw2, dw2, w2_sums);
    compare(of_db1, db1, b1_sums), compare(of_db2, db2, b2_sums);
    CHECK(of_dp.below(3e-3));
    CHECK(of_dw1.below(3e-3));
    CHECK(of_dw2.below(3e-3));
    CHECK(of_db1.below(3e-3));
    CHECK(of_db2.below(1e-5));
    check_guard(dp), check_guard(dw1), check_guard(dw2), check_guard(db1), check_guard(db2);
  }

 private:
  static std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

  template <class T>
  static void check_guard(const std::vector<T>& values) {
    for (std::size_t i = values.size() - guard; i < values.size(); ++i) CHECK(float(values[i]) == untouched);
  }

  FeedForwardParams<bf16> params() const {
    FeedForwardParams<bf16> p;
    p.rows = c.rows, p.channels = c.channels, p.hidden = c.hidden, p.act = c.act;
    p.x = x.data(), p.w1 = w1.data(), p.b1 = b1.data(), p.w2 = w2.data(), p.b2 = b2.data();
    return p;
  }

  Doubles hidden(index_t row) const {
    Doubles h(at(c.hidden));
    for (index_t u = 0; u < c.hidden; ++u) {
      h[at(u)] = b1[at(u)];
      for (index_t k = 0; k < c.channels; ++k)
        h[at(u)] += double(w1[at(u * c.channels + k)]) * double(x[at(row * c.channels + k)]);
    }
    return h;
  }

  Case c;
  std::vector<bf16> x, dy, w1, b1, w2, b2;
};

}  // namespace

TEST_CASE("feed-forward layer on emulated warps") {
  using enum Activation;
  // One warp's rows and part of them, more than a block's; one chunk of hidden units and several.
  for (const Case& c : {Case{16, 64, 64}, Case{5, 64, 192}, Case{301, 64, 128}, Case{40, 128, 128},
                        Case{70, 64, 64, gelu_tanh}, Case{33, 128, 64, relu}}) {
    CAPTURE(c.rows);
    CAPTURE(c.channels);
    CAPTURE(c.hidden);
    const Problem problem(c);
    problem.check_forward();
    problem.check_backward(0);
    problem.check_backward(c.rows / 3);
  }
}

TEST_CASE("feed-forward layer, several stretches of rows") {
  Problem({900, 64, 64}).check_backward(1);
  Problem({790, 128, 192}).check_backward(0);
  Problem({1300, 128, 64}).check_backward(0);
}

TEST_CASE("feed-forward layer, one chunk and many tiles, in every order of threads") {
  const Problem forward({1157, 128, 64, Activation::relu}), backward({350, 128, 64});
  for (int i = 0; i < 20; ++i) forward.check_forward();
  for (int i = 0; i < 20; ++i) backward.check_backward(0);
}

TEST_CASE("feed-forward layer, many rows a warp") {
  Problem({790, 64, 64}).check_forward();
  Problem({770, 128, 64}).check_forward();
  Problem({1400, 128, 320}).check_forward();
}
