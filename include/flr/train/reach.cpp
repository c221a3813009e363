#include "flr/train/reach.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "flr/core/parallel.hpp"

namespace flr::train {

namespace {

constexpr double share = 0.9, least = 1.5;
constexpr std::size_t neighbours = 6;

// The points sorted into square columns along z, about two a column if they lie evenly.
class Columns {
 public:
  Columns(std::span<const double> x, std::span<const double> y, std::span<const double> z)
      : points_(x.size()) {
    const auto [x0, x1] = std::minmax_element(x.begin(), x.end());
    const auto [y0, y1] = std::minmax_element(y.begin(), y.end());
    left_ = *x0, top_ = *y0;
    const double w = *x1 - *x0, h = *y1 - *y0, n = static_cast<double>(x.size());
    // Never more columns than a few times the points, however narrow their rectangle is.
    edge_ = std::max({std::sqrt(2 * w * h / n), 2 * std::max(w, h) / n, 1e-9});
    nx_ = column(*x1 - left_) + 1, ny_ = column(*y1 - top_) + 1;

    starts_.assign(static_cast<std::size_t>(nx_ * ny_ + 1), 0);
    std::vector<std::size_t> home(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      home[i] = static_cast<std::size_t>(column(y[i] - top_) * nx_ + column(x[i] - left_));
      ++starts_[home[i] + 1];
    }
    for (std::size_t c = 1; c < starts_.size(); ++c) starts_[c] += starts_[c - 1];
    std::vector<std::size_t> next(starts_.begin(), starts_.end() - 1);
    for (std::size_t i = 0; i < x.size(); ++i) points_[next[home[i]]++] = {x[i], y[i], z[i], i};
  }

  index_t rows() const { return ny_; }

  // The reach of every point in a row of columns, into `out` by point number.
  void reach_of_row(index_t row, std::vector<double>& out) const {
    for (index_t c = 0; c < nx_; ++c)
      for (std::size_t k = start(row, c); k < start(row, c + 1); ++k)
        out[points_[k].number] = reach(k, c, row);
  }

 private:
  struct Point {
    double x, y, z;
    std::size_t number;
  };

  index_t column(double distance) const { return static_cast<index_t>(distance / edge_); }
  std::size_t start(index_t row, index_t col) const {
    return starts_[static_cast<std::size_t>(row * nx_ + col)];
  }

  double reach(std::size_t k, index_t col, index_t row) const {
    // Six points as near as this make the reach the least one, wherever exactly they are.
    constexpr double near = (least / share) * (least / share);
    std::array<double, neighbours> best;
    best.fill(std::numeric_limits<double>::infinity());
    const auto visit = [&](index_t y, index_t x0, index_t x1) {  // columns x0 … x1 of a row
      if (y < 0 || y >= ny_) return;
      x0 = std::max<index_t>(x0, 0), x1 = std::min(x1, nx_ - 1);
      if (x0 > x1) return;
      for (std::size_t j = start(y, x0); j < start(y, x1 + 1) && best.back() > near; ++j) {
        if (j == k) continue;
        const double dx = points_[j].x - points_[k].x, dy = points_[j].y - points_[k].y,
                     dz = points_[j].z - points_[k].z;
        const double d = dx * dx + dy * dy + dz * dz;
        if (d >= best.back()) continue;
        best.back() = d;
        for (std::size_t i = neighbours - 1; i > 0 && best[i] < best[i - 1]; --i)
          std::swap(best[i], best[i - 1]);
      }
    };
    const index_t furthest = std::max({col, nx_ - 1 - col, row, ny_ - 1 - row});
    for (index_t ring = 0; ring <= furthest; ++ring) {
      // Everything outside the rings before lies further away than this.
      const double inside = static_cast<double>(ring - 1) * edge_;
      if (best.back() <= near || (ring > 0 && best.back() <= inside * inside)) break;
      visit(row - ring, col - ring, col + ring);
      if (ring == 0) continue;
      for (index_t y = row - ring + 1; y < row + ring; ++y) {
        visit(y, col - ring, col - ring);
        visit(y, col + ring, col + ring);
      }
      visit(row + ring, col - ring, col + ring);
    }
    double sixth = 0;  // the furthest of those found
    for (const double d : best)
      if (std::isfinite(d)) sixth = d;
    return std::max(share * std::sqrt(sixth), least);
  }

  double left_ = 0, top_ = 0, edge_ = 1;
  index_t nx_ = 1, ny_ = 1;
  std::vector<std::size_t> starts_;  // of each column among the points, row by row
  std::vector<Point> points_;
};

}  // namespace

std::vector<double> reach_of_points(std::span<const double> x, std::span<const double> y,
                                    std::span<const double> z) {
  std::vector<double> out(x.size());
  if (x.empty()) return out;
  const Columns columns(x, y, z);
  parallel_for(columns.rows(), [&](index_t row) { columns.reach_of_row(row, out); });
  return out;
}

}  // namespace flr::train
