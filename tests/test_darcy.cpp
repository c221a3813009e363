// The Darcy generator's mathematics: random numbers, transform, splines, scheme and field.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "flr/core/philox.hpp"
#include "flr/data/darcy_field.hpp"
#include "flr/data/darcy_solver.hpp"

using namespace flr;
using namespace flr::data;

namespace {

constexpr double pi = std::numbers::pi;

// Reproducible values in [0, 1).
std::vector<double> random_values(index_t n, std::uint64_t key) {
  std::vector<double> values;
  for (index_t i = 0; i < n; ++i) {
    const auto words = Philox4x32::block(static_cast<std::uint64_t>(i), 0, key);
    values.push_back(uniform_double(words[0], words[1]));
  }
  return values;
}

template <class F>
std::vector<double> on_nodes(index_t nodes, F&& function) {
  std::vector<double> values;
  const auto last = static_cast<double>(nodes - 1);
  for (index_t i = 0; i < nodes; ++i)
    for (index_t j = 0; j < nodes; ++j)
      values.push_back(function(static_cast<double>(i) / last, static_cast<double>(j) / last));
  return values;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

TEST_CASE("Philox gives the published known answers") {
  using Words = std::array<std::uint32_t, 4>;
  CHECK(Philox4x32::block({0, 0, 0, 0}, {0, 0}) ==
        Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox4x32::block({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox4x32::block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                          {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  CHECK(Philox4x32::block(0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822)[0] ==
        0xd16cfe09);
}

TEST_CASE("uniforms stay below one, normals have unit variance and no skew") {
  CHECK(uniform_double(~0u, ~0u) < 1);
  CHECK(uniform_float(~0u) < 1);
  CHECK(std::isfinite(normal_pair(uniform_double(~0u, ~0u), 0.0)[0]));
  const index_t n = 100000;
  double sums[4] = {};
  for (index_t i = 0; i < n; ++i) {
    const auto w = Philox4x32::block(static_cast<std::uint64_t>(i), 7, 3);
    for (double x : normal_pair(uniform_double(w[0], w[1]), uniform_double(w[2], w[3])))
      for (int p = 0; p < 4; ++p) sums[p] += std::pow(x, p + 1) / (2 * n);
  }
  // Four standard errors of the moments of 200000 normals.
  CHECK(std::abs(sums[0]) < 0.009);
  CHECK(std::abs(sums[1] - 1) < 0.013);
  CHECK(std::abs(sums[2]) < 0.035);
  CHECK(std::abs(sums[3] - 3) < 0.09);
}

TEST_CASE("the inverse DCT is orthonormal and gives cosines") {
  const index_t n = 21;
  const InverseDct transform(n);
  const std::vector<double> x = random_values(n * n, 1), y = transform(x);
  double before = 0, after = 0;
  for (double v : x) before += v * v;
  for (double v : y) after += v * v;
  CHECK(after == doctest::Approx(before).epsilon(1e-13));

  std::vector<double> one(static_cast<std::size_t>(n * n));
  one[3 * n] = 1;  // wave 3 along the first axis, constant along the second
  const std::vector<double> wave = transform(one);
  for (index_t i = 0; i < n; ++i)
    for (index_t j = 0; j < n; ++j) {
      const double angle = pi * 3 * (2.0 * static_cast<double>(i) + 1) / (2.0 * n);
      CHECK(std::abs(wave[i * n + j] - std::sqrt(2.0) / n * std::cos(angle)) < 1e-15);
    }
}

TEST_CASE("splines reproduce cubics, and continue them beyond the ends") {
  for (index_t n : {4, 5, 43}) {
    std::vector<double> to{-0.1, 0, 0.003, 0.5, 0.77, 1, 1.05};
    const SplineGrid spline(cell_centres(n), to);
    const auto cubic = [](double x, double y) {
      return (1 - 2 * x + 3 * x * x - 4 * x * x * x) * (y * y * y - 0.5 * y + 2);
    };
    std::vector<double> values, expected;
    for (double x : cell_centres(n))
      for (double y : cell_centres(n)) values.push_back(cubic(x, y));
    for (double x : to)
      for (double y : to) expected.push_back(cubic(x, y));
    CHECK(largest_difference(spline(values), expected) < 1e-11);
  }
  CHECK_THROWS_WITH_AS(SplineGrid(cell_centres(3), {0}),
                       "[spline] expected at least 4 points along an axis; got 3", Error);
}

TEST_CASE("splines pass through their values and are not-a-knot where it matters") {
  // Without the two end conditions this polynomial of degree four would come back differently: the
  // reference is SciPy's CubicSpline(bc_type="not-a-knot").
  const std::vector<double> x{0, 1, 2, 3, 4, 5};
  std::vector<double> values;
  for (double v : x) values.push_back(v * v * v * v);
  const SplineGrid spline(x, {0, 0.5, 2.5, 3, 5});
  const std::vector<double> result = spline.along_rows(values, 1);
  CHECK(result[0] == doctest::Approx(0));
  CHECK(result[1] == doctest::Approx(0.6999999999999997));
  CHECK(result[2] == doctest::Approx(39.1));
  CHECK(result[3] == doctest::Approx(81));
  CHECK(result[4] == doctest::Approx(625));
}

TEST_CASE("nested dissection agrees with Eigen's sparse factorisation") {
  for (index_t nodes : {3, 4, 5, 7, 12, 19, 42}) {
    CAPTURE(nodes);
    std::vector<double> a = random_values(nodes * nodes, 2);
    for (double& v : a) v = v < 0.5 ? 3 : 12;
    const std::vector<double> f = random_values(nodes * nodes, 3);
    DarcyNodes solver(nodes);
    const std::vector<double> u = solver.solve(a, f), v = solver.solve_sparse(a, f);
    CHECK(largest_difference(u, v) < 1e-14);
    CHECK(*std::max_element(u.begin(), u.end()) > 1e-4);
  }
}

TEST_CASE("an indefinite matrix is noticed and solved all the same") {
  const index_t nodes = 20;
  std::vector<double> a(nodes * nodes, 1.0);
  a[10 * nodes + 10] = -3;  // as a spline leaves it beside a large jump
  GridMatrix matrix{2, {1, 1, 1, 1}, {-2, 0, 0, 0}, {0, 0, 0, 0}};
  CHECK_FALSE(GridCholesky(2, 1).factorize(matrix));
  CHECK_FALSE(GridCholesky(2).factorize(matrix));
  const std::vector<double> f(nodes * nodes, 1.0);
  DarcyNodes solver(nodes);
  const std::vector<double> u = solver.solve(a, f);
  CHECK(u == solver.solve_sparse(a, f));
  const auto flow = [&](index_t p, index_t q) { return (a[p] + a[q]) / 2 * (u[p] - u[q]); };
  for (index_t i = 1; i + 1 < nodes; ++i)
    for (index_t j = 1; j + 1 < nodes; ++j) {
      const index_t p = i * nodes + j;
      const double sum = flow(p, p + 1) + flow(p, p - 1) + flow(p, p + nodes) + flow(p, p - nodes);
      CHECK(std::abs(sum * (nodes - 1) * (nodes - 1) - 1) < 1e-9);
    }
}

TEST_CASE("a manufactured solution converges with the second order") {
  // u = sin(πx) sin(2πy), a = 2 + sin(x + 3y); f = −∇·(a ∇u).
  const auto u = [](double x, double y) { return std::sin(pi * x) * std::sin(2 * pi * y); };
  const auto a = [](double x, double y) { return 2 + std::sin(x + 3 * y); };
  const auto f = [&](double x, double y) {
    const double slope = std::cos(x + 3 * y);
    const double ux = pi * std::cos(pi * x) * std::sin(2 * pi * y);
    const double uy = 2 * pi * std::sin(pi * x) * std::cos(2 * pi * y);
    return 5 * pi * pi * a(x, y) * u(x, y) - slope * ux - 3 * slope * uy;
  };
  std::vector<double> errors;
  for (index_t nodes : {17, 33, 65}) {
    const auto found = DarcyNodes(nodes).solve(on_nodes(nodes, a), on_nodes(nodes, f));
    errors.push_back(largest_difference(found, on_nodes(nodes, u)));
  }
  const double first = std::log2(errors[0] / errors[1]), second = std::log2(errors[1] / errors[2]);
  MESSAGE("errors " << errors[0] << ", " << errors[1] << ", " << errors[2] << "; orders " << first
                    << ", " << second);
  CHECK(errors[2] < 2e-3);
  CHECK(std::abs(first - 2) < 0.1);
  CHECK(std::abs(second - 2) < 0.1);
}

TEST_CASE("the solver on cells, splines included, converges with the second order") {
  // Centres of n cells are centres of 3n cells too, so three grids tell the order by themselves.
  const auto solve = [](index_t grid) {
    std::vector<double> a;
    for (double x : cell_centres(grid))
      for (double y : cell_centres(grid)) a.push_back(2 + std::cos(4 * x * y) + x);
    return DarcyCells(grid, cell_centres(11)).solve(a, 1);
  };
  const auto coarse = solve(11), middle = solve(33), fine = solve(99);
  const double order =
      std::log(largest_difference(coarse, middle) / largest_difference(middle, fine)) /
      std::log(3.0);
  MESSAGE("order " << order);
  CHECK(std::abs(order - 2) < 0.15);
}

TEST_CASE("the solution obeys the discrete maximum principle") {
  // On nodes: the splines of the solver on cells may take a coefficient below zero.
  const index_t n = 48;
  const std::vector<double> a = DarcyField({.grid = n}).coefficient(5);
  std::vector<double> f = random_values(n * n, 9);
  for (double& v : f) v = std::max(0.0, v - 0.9);
  const std::vector<double> u = DarcyNodes(n).solve(a, f);
  CHECK(*std::min_element(u.begin(), u.end()) >= 0);
  for (index_t i = 1; i + 1 < n; ++i)
    for (index_t j = 1; j + 1 < n; ++j) {
      const index_t p = i * n + j;
      if (f[p] == 0)
        CHECK(u[p] <= std::max({u[p - 1], u[p + 1], u[p - n], u[p + n]}) * (1 + 1e-12));
    }
  const std::vector<double> zero(f.size());
  CHECK(largest_difference(DarcyNodes(n).solve(a, zero), zero) == 0);
}

TEST_CASE("fields have the variance of their Karhunen-Loeve sum") {
  DarcyRecipe recipe;
  recipe.grid = 24;
  const DarcyField field(recipe);
  const std::vector<double> x = cell_centres(recipe.grid);
  const index_t n = recipe.grid, samples = 4000;
  for (const auto& [i, j] : {std::pair<index_t, index_t>{0, 0}, {11, 12}, {3, 23}}) {
    double expected = 0;
    for (int k = 0; k < n; ++k)
      for (int l = 0; l < n; ++l) {
        if (k + l == 0) continue;
        const double deviation = 3 / (pi * pi * (k * k + l * l) + 9);
        const double wave = (k ? std::sqrt(2) * std::cos(pi * k * x[i]) : 1) *
                            (l ? std::sqrt(2) * std::cos(pi * l * x[j]) : 1);
        expected += deviation * deviation * wave * wave;
      }
    double found = 0;
    for (index_t s = 0; s < samples; ++s)
      found += std::pow(field.gaussian(static_cast<std::uint64_t>(s))[i * n + j], 2);
    // The standard error is 2.2 %.
    CHECK(std::abs(found / static_cast<double>(samples) / expected - 1) < 0.09);
  }
}

TEST_CASE("a field is a function of seed and number, and can be had finer") {
  DarcyRecipe recipe;
  recipe.grid = 32;
  const DarcyField field(recipe);
  const auto third = field.gaussian(3);
  CHECK(third != field.gaussian(4));
  CHECK(third == DarcyField(recipe).gaussian(3));
  recipe.seed = 1;
  CHECK(third != DarcyField(recipe).gaussian(3));

  recipe.seed = 0;
  recipe.alpha = 8;  // smooth, so that waves beyond the coarse grid do not matter
  const auto coarse = DarcyField(recipe).gaussian(3);
  recipe.grid = 96;
  const auto fine = DarcyField(recipe).gaussian(3);
  for (index_t i = 0; i < 32; ++i)
    for (index_t j = 0; j < 32; ++j)
      CHECK(coarse[i * 32 + j] ==
            doctest::Approx(fine[(3 * i + 1) * 96 + 3 * j + 1]).epsilon(1e-6).scale(1e-3));
}

TEST_CASE("coefficients take the two values, and bad recipes are refused") {
  DarcyRecipe recipe;
  recipe.grid = 40;
  const auto gaussian = DarcyField(recipe).gaussian(0), a = DarcyField(recipe).coefficient(0);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == (gaussian[i] >= 0 ? 12 : 3));
  recipe.low = 0;
  CHECK_THROWS_WITH_AS(DarcyField{recipe},
                       "[darcy] expected positive coefficients; got high 12 and low 0", Error);
  recipe = {.grid = 3};
  CHECK_THROWS_WITH_AS(DarcyField{recipe}, "[darcy] expected a grid of 4 to 8192 cells; got 3",
                       Error);
  recipe = {.alpha = 1};
  CHECK_THROWS_AS(DarcyField{recipe}, Error);
}
