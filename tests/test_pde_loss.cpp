// The loss of the PDE experiments against its definition in loops.
#include <cmath>

#include "doctest/doctest.h"
#include "flr/train/pde_loss.hpp"

namespace {

using namespace flr;

using Field = std::vector<double>;  // rows × cols

double relative(const Field& difference, const Field& target) {
  double d = 0, t = 0;
  for (std::size_t i = 0; i < target.size(); ++i) d += difference[i] * difference[i], t += target[i] * target[i];
  return std::sqrt(d / t);
}

/// Differences along the columns (or rows) of a field that is zero outside.
Field slope(const Field& v, index_t rows, index_t cols, bool along_columns, double step) {
  const auto at = [&](index_t r, index_t c) {
    return r < 0 || c < 0 || r >= rows || c >= cols ? 0.0 : v[static_cast<std::size_t>(r * cols + c)];
  };
  Field s;
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = 0; c < cols; ++c)
      s.push_back((along_columns ? at(r, c + 1) - at(r, c - 1) : at(r + 1, c) - at(r - 1, c)) / (2 * step));
  return s;
}

Field minus(const Field& a, const Field& b) {
  Field d;
  for (std::size_t i = 0; i < a.size(); ++i) d.push_back(a[i] - b[i]);
  return d;
}

double darcy_loss(const Field& pred, const Field& target, index_t rows, index_t cols, double step) {
  Field inner = pred;
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = 0; c < cols; ++c)
      if (r == 0 || c == 0 || r == rows - 1 || c == cols - 1) inner[static_cast<std::size_t>(r * cols + c)] = 0;
  double loss = relative(minus(pred, target), target);
  for (bool along_columns : {true, false}) {
    const Field p = slope(inner, rows, cols, along_columns, step), t = slope(target, rows, cols, along_columns, step);
    loss += 0.1 * relative(minus(p, t), t);
  }
  return loss;
}

}  // namespace

TEST_CASE("the Darcy loss: its terms, and every value of the prediction has a gradient") {
  const index_t rows = 5, cols = 7, samples = 3, n = rows * cols;
  data::Dataset set;
  set.train.grid = {rows, cols};
  set.y_norm = {{0.25}, {1.5}};
  set.derivative_loss = true, set.derivative_step = 0.2;
  manual_seed(5);
  const auto pred = randn<double>({samples, n, 1}).requires_grad(true);
  const auto target = randn<double>({samples, n, 1});
  const train::PdeLoss<double> loss(set);
  double expected = 0;
  for (index_t s = 0; s < samples; ++s) {
    Field p, t;
    for (index_t i = 0; i < n; ++i) {
      p.push_back(pred.data()[s * n + i] * 1.5 + 0.25);
      t.push_back(target.data()[s * n + i] * 1.5 + 0.25);
    }
    expected += darcy_loss(p, t, rows, cols, 0.2) / static_cast<double>(samples);
  }
  const Tensor<double> value = loss(pred, target);
  CHECK(value.item() == doctest::Approx(expected).epsilon(1e-12));
  backward(value);
  for (const double g : pred.grad().to_vector()) CHECK(g != 0.0);  // the boundary's too
  CHECK(gradcheck([&](const std::vector<Tensor<double>>& x) { return loss(x[0], target); }, {pred.detach()}));
}

TEST_CASE("without derivatives the loss is the relative L2 of decoded fields") {
  data::Dataset set;
  set.y_norm = {{0.5, -1.0}, {2.0, 3.0}};
  manual_seed(6);
  const auto pred = randn<double>({2, 9, 2}), target = randn<double>({2, 9, 2});
  double expected = 0;
  for (index_t s = 0; s < 2; ++s) {
    Field d, t;
    for (index_t i = 0; i < 18; ++i) {
      const double std = i % 2 ? 3 : 2, mean = i % 2 ? -1 : 0.5;
      const double p = pred.data()[s * 18 + i] * std + mean;
      t.push_back(target.data()[s * 18 + i] * std + mean);
      d.push_back(p - t.back());
    }
    expected += relative(d, t) / 2;
  }
  CHECK(train::PdeLoss<double>(set)(pred, target).item() == doctest::Approx(expected).epsilon(1e-12));
}
