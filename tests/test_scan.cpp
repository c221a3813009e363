// Running sums and recurrences along an axis.
#include <doctest/doctest.h>

#include "flr/graph.hpp"
#include "flr/ops.hpp"

using namespace flr;

namespace {

double largest_difference(const Tensor<double>& a, const Tensor<double>& b) {
  REQUIRE(a.shape() == b.shape());
  const auto x = a.to_vector(), y = b.to_vector();
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(x[i] - y[i]));
  return worst;
}

}  // namespace

TEST_CASE("scan, cumsum and logcumsumexp are what their loops say, for any extent") {
  manual_seed(1);
  for (index_t n : {1, 2, 3, 7, 8, 33}) {
    CAPTURE(n);
    const auto a = rand<double>({2, n, 1}), x = randn<double>({2, n, 3});
    const auto y = scan(a, x, 1), c = cumsum(x, 1), l = logcumsumexp(x, 1);
    for (index_t b = 0; b < 2; ++b)
      for (index_t j = 0; j < 3; ++j) {
        double h = 0, s = 0, e = 0;
        for (index_t t = 0; t < n; ++t) {
          h = a.at(b, t, 0) * h + x.at(b, t, j);
          s += x.at(b, t, j);
          e += std::exp(x.at(b, t, j));
          CHECK(y.at(b, t, j) == doctest::Approx(h).epsilon(1e-13));
          CHECK(c.at(b, t, j) == doctest::Approx(s).epsilon(1e-13));
          CHECK(l.at(b, t, j) == doctest::Approx(std::log(e)).epsilon(1e-13));
        }
      }
  }
}

TEST_CASE("gradients of scan, cumsum and logcumsumexp") {
  manual_seed(2);
  CHECK(gradcheck([](const auto& x) { return scan(x[0], x[1], 1); },
                  {rand<double>({2, 6, 1}), randn<double>({2, 6, 3})}));
  CHECK(gradcheck([](const auto& x) { return scan(x[0], x[1], -1); },
                  {randn<double>({2, 5}), randn<double>({2, 5})}));
  CHECK(gradcheck([](const auto& x) { return cumsum(x[0], 0) * x[0]; }, {randn<double>({7, 2})}));
  CHECK(gradcheck([](const auto& x) { return logcumsumexp(x[0], 1); }, {randn<double>({2, 9, 2})}));
  CHECK(gradcheck([](const auto& x) { return logaddexp(x[0], x[1]); },
                  {randn<double>({8}), randn<double>({8})}));
}

TEST_CASE("logcumsumexp bears scores of any size, and those that count as minus infinity") {
  const auto x = from_vector<float>({-1e30f, -1e30f, -200, 300, 100, -1e30f}, {6}).requires_grad(true);
  const auto y = logcumsumexp(x, 0);
  const std::vector<float> expected{-1e30f, -1e30f, -200, 300, 300, 300};
  CHECK(y.to_vector() == expected);
  backward(sum(slice(y, 0, 2, 6)));
  CHECK(x.grad().to_vector() == std::vector<float>{0, 0, 1, 3, 0, 0});
}

TEST_CASE("a scan of chunks and then across them is the scan of the whole") {
  manual_seed(3);
  const auto x = randn<double>({2, 24, 3});
  const auto within = cumsum(reshape(x, {2, 4, 6, 3}), 2);
  const auto totals = cumsum(slice(within, 2, 5, 6), 1);
  const auto before = concat<double>({zeros<double>({2, 1, 1, 3}), slice(totals, 1, 0, 3)}, 1);
  CHECK(largest_difference(reshape(within + before, {2, 24, 3}), cumsum(x, 1)) < 1e-13);
}

TEST_CASE("scan says what does not fit") {
  CHECK_THROWS_WITH_AS(scan(zeros({2, 1, 3}), zeros({2, 4, 3}), 1), doctest::Contains("[scan]"), Error);
  CHECK_THROWS_WITH_AS(cumsum(zeros({2, 3}), 2), doctest::Contains("axis 2"), Error);
}
