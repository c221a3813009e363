#include <algorithm>
#include <cmath>

#include "flr/train/raster.hpp"

namespace flr::train {

namespace {

double extent(const std::vector<double>& v) {
  const auto [low, high] = std::minmax_element(v.begin(), v.end());
  return *high - *low;
}

std::vector<double> axis(std::span<const float> coordinates, std::int64_t dimensions,
                         std::int64_t which) {
  std::vector<double> out;
  out.reserve(coordinates.size() / static_cast<std::size_t>(dimensions));
  for (std::size_t i = static_cast<std::size_t>(which); i < coordinates.size();
       i += static_cast<std::size_t>(dimensions)) {
    check(std::isfinite(coordinates[i]),
          "[picture] expected finite coordinates; got {} at point {}", coordinates[i],
          i / static_cast<std::size_t>(dimensions));
    out.push_back(coordinates[i]);
  }
  return out;
}

}  // namespace

FieldLayout FieldLayout::grid(std::int64_t rows, std::int64_t cols) {
  check(rows > 0 && cols > 0, "[picture] expected a grid with rows and columns; got {} x {}", rows,
        cols);
  FieldLayout layout;
  layout.rows = rows;
  layout.cols = cols;
  return layout;
}

FieldLayout FieldLayout::mesh(std::int64_t rows, std::int64_t cols,
                              std::span<const float> coordinates) {
  check(rows > 1 && cols > 1, "[picture] expected a mesh of at least 2 x 2 points; got {} x {}",
        rows, cols);
  check(std::ssize(coordinates) == 2 * rows * cols,
        "[picture] expected {} coordinates for a mesh of {} x {} points; got {}", 2 * rows * cols,
        rows, cols, coordinates.size());
  FieldLayout layout = grid(rows, cols);
  layout.x = axis(coordinates, 2, 0);
  layout.y = axis(coordinates, 2, 1);
  layout.depth.assign(layout.x.size(), 0);
  return layout;
}

FieldLayout FieldLayout::points(std::span<const float> coordinates, std::int64_t dimensions) {
  check(dimensions >= 1 && dimensions <= 3,
        "[picture] expected points of 1 to 3 dimensions; got {}", dimensions);
  check(!coordinates.empty() && std::ssize(coordinates) % dimensions == 0,
        "[picture] expected whole points of {} coordinates; got {} numbers", dimensions,
        coordinates.size());
  FieldLayout layout;
  layout.x = axis(coordinates, dimensions, 0);
  layout.y =
      dimensions > 1 ? axis(coordinates, dimensions, 1) : std::vector<double>(layout.x.size(), 0);
  layout.depth.assign(layout.x.size(), 0);
  if (dimensions == 3) {
    layout.depth = axis(coordinates, 3, 2);
    const double ex = extent(layout.x), ey = extent(layout.y), ez = extent(layout.depth);
    // The axis that remains last becomes the depth; z stays upwards whenever it is shown.
    if (ex < ez && ex <= ey) {
      layout.x.swap(layout.y);      // y, x, z
      layout.y.swap(layout.depth);  // y, z, depth x: seen from the front of x
    } else if (ey < ez) {
      layout.y.swap(layout.depth);  // x, z, and the nearest y is the smallest
      for (double& d : layout.depth) d = -d;
    }
  }
  return layout;
}

std::int64_t FieldLayout::size() const {
  return x.empty() ? rows * cols : std::ssize(x);
}

}  // namespace flr::train
