// From values on a grid, a mesh or a point cloud to pixels.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "flr/core/error.hpp"

namespace flr::train {

/// Where a field's values lie.
struct FieldLayout {
  std::int64_t rows = 0, cols = 0;  ///< a structured field if positive; values are row by row
  std::vector<double> x, y, depth;  ///< positions, one a value; empty for an even grid

  /// Values at even spacing, row 0 at the top.
  static FieldLayout grid(std::int64_t rows, std::int64_t cols);
  /// A structured mesh: `coordinates` [rows·cols, 2], y upwards.
  static FieldLayout mesh(std::int64_t rows, std::int64_t cols, std::span<const float> coordinates);
  /// A point cloud: `coordinates` [points, dimensions], 1 to 3 dimensions. 3-D points are seen
  /// along the axis in which they extend least, those in front hiding those behind.
  static FieldLayout points(std::span<const float> coordinates, std::int64_t dimensions);

  std::int64_t size() const;
};

/// The part of a mesh or cloud to show, in its own units.
struct Window {
  double x0, x1, y0, y1;
};

/// For each pixel, the values that make it and their weights; computed once for all the fields that
/// share a layout.
class Raster {
 public:
  /// `side` is the longer side in pixels, at least 16; the shorter one follows from the layout's
  /// extent. `smooth` interpolates between the values of an even grid (bilinear); a mesh is always
  /// interpolated within its triangles, and points colour the pixels nearest to them.
  Raster(const FieldLayout& layout, int side, bool smooth = false, const Window* window = nullptr);

  int width() const { return width_; }
  int height() const { return height_; }

  struct Sample {
    float value;
    bool painted;  ///< false outside the mesh and between distant points
  };
  /// The field at a pixel (x to the right, y downwards); `values` are as many as the layout's.
  Sample sample(std::span<const float> values, int x, int y) const;

 private:
  struct Source {
    std::array<std::int64_t, 4> index{-1, -1, -1, -1};
    std::array<float, 4> weight{};
    double nearness = -std::numeric_limits<double>::infinity();
  };
  std::size_t offset(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(x);
  }
  void paint_grid(const FieldLayout& layout, bool smooth);
  void paint_mesh(const FieldLayout& layout, std::span<const double> px,
                  std::span<const double> py);
  void paint_triangle(std::array<std::int64_t, 3> corner, std::span<const double> px,
                      std::span<const double> py);
  void paint_points(const FieldLayout& layout, std::span<const double> px,
                    std::span<const double> py, double pixels_per_unit);

  int width_ = 0, height_ = 0;
  std::int64_t values_ = 0;
  std::vector<Source> sources_;
};

}  // namespace flr::train
