#include "flr/data/spline.hpp"

#include <algorithm>

namespace flr::data {

namespace {
std::vector<double> transposed(const std::vector<double>& values, index_t rows, index_t columns) {
  std::vector<double> result(values.size());
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j) result[j * rows + i] = values[i * columns + j];
  return result;
}
}  // namespace

// The unknowns are the second derivatives M at the interior points:
//   h₋ M₋ + 2 (h₋ + h₊) M + h₊ M₊ = 6 (slope₊ − slope₋).
// Not-a-knot makes M linear over the first two intervals: M₀ = (1 + q) M₁ − q M₂ with q = h₀ / h₁,
// and the same from the other end; put into the first and last equation, the system stays
// tridiagonal.
SplineGrid::SplineGrid(std::vector<double> from, std::vector<double> to) : from_(std::move(from)) {
  const auto n = static_cast<index_t>(from_.size());
  check(n >= 4, "[spline] expected at least 4 points along an axis; got {}", n);
  std::vector<double> h;
  for (index_t i = 0; i + 1 < n; ++i) h.push_back(from_[i + 1] - from_[i]);
  check(*std::min_element(h.begin(), h.end()) > 0, "[spline] expected increasing points");

  const index_t unknowns = n - 2;
  for (index_t i = 0; i < unknowns; ++i) {
    lower_.push_back(h[i]);
    pivot_.push_back(2 * (h[i] + h[i + 1]));
    upper_.push_back(h[i + 1]);
  }
  const double q = h[0] / h[1], p = h[n - 2] / h[n - 3];
  pivot_.front() += h[0] * (1 + q);
  upper_.front() -= h[0] * q;
  pivot_.back() += h[n - 2] * (1 + p);
  lower_.back() -= h[n - 2] * p;
  for (index_t i = 1; i < unknowns; ++i) {
    lower_[i] /= pivot_[i - 1];
    pivot_[i] -= lower_[i] * upper_[i - 1];
  }

  for (double x : to) {
    const auto next = std::upper_bound(from_.begin(), from_.end(), x);
    const index_t i = std::clamp<index_t>(next - from_.begin() - 1, 0, n - 2);
    const double b = (x - from_[i]) / h[i], a = 1 - b, square = h[i] * h[i] / 6;
    pieces_.push_back({i, {a, b}, {(a * a * a - a) * square, (b * b * b - b) * square}});
  }
}

std::vector<double> SplineGrid::along_rows(const std::vector<double>& values,
                                           index_t columns) const {
  const auto n = static_cast<index_t>(from_.size());
  check(static_cast<index_t>(values.size()) == n * columns,
        "[spline] expected {} x {} values; got {}", n, columns, values.size());
  std::vector<double> curvature(values.size());
  const auto row = [&](index_t i) { return curvature.data() + i * columns; };
  for (index_t i = 1; i + 1 < n; ++i) {
    const double *y = values.data() + i * columns, factor = i > 1 ? lower_[i - 1] : 0;
    const double *before = row(i - 1), left = 6 / (from_[i] - from_[i - 1]),
                 right = 6 / (from_[i + 1] - from_[i]);
    double* m = row(i);
    for (index_t c = 0; c < columns; ++c)
      m[c] = (y[c + columns] - y[c]) * right - (y[c] - y[c - columns]) * left - factor * before[c];
  }
  for (index_t i = n - 2; i >= 1; --i) {
    const double over = i < n - 2 ? upper_[i - 1] : 0, scale = 1 / pivot_[i - 1];
    const double* after = row(i + 1);
    double* m = row(i);
    for (index_t c = 0; c < columns; ++c) m[c] = (m[c] - over * after[c]) * scale;
  }
  const auto continue_to = [&](index_t end, index_t near, index_t far) {
    const double ratio = (from_[end] - from_[near]) / (from_[near] - from_[far]);
    for (index_t c = 0; c < columns; ++c)
      row(end)[c] = (1 + ratio) * row(near)[c] - ratio * row(far)[c];
  };
  continue_to(0, 1, 2);
  continue_to(n - 1, n - 2, n - 3);

  std::vector<double> result(pieces_.size() * static_cast<std::size_t>(columns));
  double* out = result.data();
  for (const Piece& piece : pieces_) {
    const double *y = values.data() + piece.left * columns, *m = row(piece.left);
    for (index_t c = 0; c < columns; ++c)
      *out++ = piece.value[0] * y[c] + piece.value[1] * y[c + columns] + piece.curvature[0] * m[c] +
               piece.curvature[1] * m[c + columns];
  }
  return result;
}

std::vector<double> SplineGrid::operator()(const std::vector<double>& values) const {
  const auto n = static_cast<index_t>(from_.size()), k = static_cast<index_t>(pieces_.size());
  return transposed(along_rows(transposed(along_rows(values, n), k, n), k), k, k);
}

}  // namespace flr::data
