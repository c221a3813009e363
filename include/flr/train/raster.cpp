#include "flr/train/raster.hpp"

#include <algorithm>
#include <cmath>

#include "flr/train/reach.hpp"

namespace flr::train {

namespace {

Window bounds(const FieldLayout& layout) {
  const auto [x0, x1] = std::minmax_element(layout.x.begin(), layout.x.end());
  const auto [y0, y1] = std::minmax_element(layout.y.begin(), layout.y.end());
  return {*x0, *x1, *y0, *y1};
}

}  // namespace

Raster::Raster(const FieldLayout& layout, int side, bool smooth, const Window* window)
    : values_(layout.size()) {
  check(side >= 16 && side <= 8192, "[picture] expected a side of 16 to 8192 pixels; got {}", side);
  const bool placed = !layout.x.empty();
  check(window == nullptr || (placed && window->x1 > window->x0 && window->y1 > window->y0),
        "[picture] expected a window of positive size on a layout with coordinates");
  const Window view = window ? *window : placed ? bounds(layout) : Window{};
  const double w = placed ? view.x1 - view.x0 : static_cast<double>(layout.cols);
  const double h = placed ? view.y1 - view.y0 : static_cast<double>(layout.rows);
  const double scale = (side - 1) / std::max({w, h, 1e-300});
  // A very flat domain still gets a strip that can be seen.
  width_ = std::clamp(static_cast<int>(std::lround(scale * w)) + 1, 16, side);
  height_ = std::clamp(static_cast<int>(std::lround(scale * h)) + 1, 16, side);
  sources_.resize(static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_));
  if (!placed) {
    paint_grid(layout, smooth);
    return;
  }

  std::vector<double> px(layout.x.size()), py(layout.x.size());
  for (std::size_t i = 0; i < px.size(); ++i) {
    px[i] = (width_ - 1) / 2.0 + scale * (layout.x[i] - (view.x0 + view.x1) / 2);
    py[i] = (height_ - 1) / 2.0 - scale * (layout.y[i] - (view.y0 + view.y1) / 2);
  }
  if (layout.rows > 0)
    paint_mesh(layout, px, py);
  else
    paint_points(layout, px, py, scale);
}

Raster::Sample Raster::sample(std::span<const float> values, int x, int y) const {
  check(std::ssize(values) == values_, "[picture] expected {} values; got {}", values_,
        values.size());
  check(x >= 0 && y >= 0 && x < width_ && y < height_,
        "[picture] expected a pixel within {} x {}; got ({}, {})", width_, height_, x, y);
  const Source& from = sources_[offset(x, y)];
  float sum = 0;
  for (std::size_t k = 0; k < 4 && from.index[k] >= 0; ++k)
    sum += from.weight[k] * values[static_cast<std::size_t>(from.index[k])];
  return {sum, from.index[0] >= 0};
}

void Raster::paint_grid(const FieldLayout& layout, bool smooth) {
  // A pixel's centre in units of cells; cell i covers [i, i + 1) and its value sits in the middle.
  const auto split = [&](int pixel, int pixels, std::int64_t cells) {
    const double at = (pixel + 0.5) * static_cast<double>(cells) / pixels - (smooth ? 0.5 : 0);
    const double clamped = std::clamp(at, 0.0, static_cast<double>(cells - 1));
    const auto first = static_cast<std::int64_t>(smooth ? clamped : std::floor(at));
    return std::pair{first, smooth ? static_cast<float>(clamped - double(first)) : 0.0f};
  };
  for (int y = 0; y < height_; ++y) {
    const auto [row, below] = split(y, height_, layout.rows);
    const std::int64_t next_row = std::min(row + 1, layout.rows - 1);
    for (int x = 0; x < width_; ++x) {
      const auto [col, right] = split(x, width_, layout.cols);
      const std::int64_t next_col = std::min(col + 1, layout.cols - 1);
      Source& s = sources_[offset(x, y)];
      s.index[0] = row * layout.cols + col;
      s.weight[0] = (1 - below) * (1 - right);
      if (!smooth) continue;
      s.index = {s.index[0], row * layout.cols + next_col, next_row * layout.cols + col,
                 next_row * layout.cols + next_col};
      s.weight = {s.weight[0], (1 - below) * right, below * (1 - right), below * right};
    }
  }
}

void Raster::paint_mesh(const FieldLayout& layout, std::span<const double> px,
                        std::span<const double> py) {
  for (std::int64_t r = 0; r + 1 < layout.rows; ++r)
    for (std::int64_t c = 0; c + 1 < layout.cols; ++c) {
      const std::int64_t i = r * layout.cols + c, j = i + layout.cols;
      paint_triangle({i, i + 1, j}, px, py);
      paint_triangle({i + 1, j + 1, j}, px, py);
    }
}

void Raster::paint_triangle(std::array<std::int64_t, 3> corner, std::span<const double> px,
                            std::span<const double> py) {
  std::array<double, 3> x, y;
  for (std::size_t k = 0; k < 3; ++k) {
    x[k] = px[static_cast<std::size_t>(corner[k])];
    y[k] = py[static_cast<std::size_t>(corner[k])];
  }
  const double area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]);
  if (area == 0) return;
  const auto [left, right] = std::minmax_element(x.begin(), x.end());
  const auto [top, bottom] = std::minmax_element(y.begin(), y.end());
  const int x0 = static_cast<int>(std::ceil(std::max(*left, 0.0)));
  const int x1 = static_cast<int>(std::floor(std::min(*right, width_ - 1.0)));
  const int y0 = static_cast<int>(std::ceil(std::max(*top, 0.0)));
  const int y1 = static_cast<int>(std::floor(std::min(*bottom, height_ - 1.0)));
  for (int j = y0; j <= y1; ++j)
    for (int i = x0; i <= x1; ++i) {
      const double b = ((i - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (j - y[0])) / area;
      const double c = ((x[1] - x[0]) * (j - y[0]) - (i - x[0]) * (y[1] - y[0])) / area;
      // A little slack, so that rounding leaves no seams between neighbours.
      if (b < -1e-9 || c < -1e-9 || b + c > 1 + 1e-9) continue;
      Source& s = sources_[offset(i, j)];
      s.index = {corner[0], corner[1], corner[2], -1};
      s.weight = {static_cast<float>(1 - b - c), static_cast<float>(b), static_cast<float>(c), 0};
    }
}

// Each point is a cone that stands towards the viewer: where cones meet, the nearer point wins, and
// a layer in front hides the one behind it.
void Raster::paint_points(const FieldLayout& layout, std::span<const double> px,
                          std::span<const double> py, double pixels_per_unit) {
  std::vector<double> pz(layout.depth);
  for (double& z : pz) z *= pixels_per_unit;
  const std::vector<double> radius = reach_of_points(px, py, pz);
  for (std::size_t p = 0; p < px.size(); ++p) {
    const double r = radius[p];
    const int x0 = static_cast<int>(std::ceil(std::max(px[p] - r, 0.0)));
    const int x1 = static_cast<int>(std::floor(std::min(px[p] + r, width_ - 1.0)));
    const int y0 = static_cast<int>(std::ceil(std::max(py[p] - r, 0.0)));
    const int y1 = static_cast<int>(std::floor(std::min(py[p] + r, height_ - 1.0)));
    for (int j = y0; j <= y1; ++j)
      for (int i = x0; i <= x1; ++i) {
        const double d = std::hypot(i - px[p], j - py[p]);
        Source& s = sources_[offset(i, j)];
        if (d > r || pz[p] - d <= s.nearness) continue;
        s.nearness = pz[p] - d;
        s.index[0] = static_cast<std::int64_t>(p);
        s.weight[0] = 1;
      }
  }
}

}  // namespace flr::train
