// Small pictures of lines and discs, drawn large and scaled down.
#pragma once

#include <cstdint>
#include <vector>

#include "flr/core/shape.hpp"

namespace flr::data {

/// A gray picture [height, width], row-major.
struct Raster {
  index_t height = 0, width = 0;
  std::vector<double> values;

  Raster() = default;
  Raster(index_t h, index_t w) : height(h), width(w), values(static_cast<std::size_t>(h * w)) {}
  double& at(index_t y, index_t x) { return values[static_cast<std::size_t>(y * width + x)]; }
  double at(index_t y, index_t x) const { return values[static_cast<std::size_t>(y * width + x)]; }
  bool inside(index_t y, index_t x) const { return y >= 0 && y < height && x >= 0 && x < width; }
};

/// Sets a line between two pixels, both included, to 1: Bresenham's for a width of 1, and beyond it
/// the pixels that lie beside the line within half the width.
void draw_line(Raster& picture, index_t y0, index_t x0, index_t y1, index_t x1, index_t width);

/// Sets the pixels within `radius` of a point to 1.
void draw_disc(Raster& picture, double y, double x, double radius);

/// The largest value within `radius` (a whole number of pixels) of each pixel.
Raster dilate(const Raster& picture, index_t radius);

/// Scales with Lanczos' window of three lobes, widened by the factor where the picture shrinks
/// (antialiasing), normalised at the edges. Overshoot is kept.
Raster lanczos(const Raster& picture, index_t height, index_t width);
/// The same of a picture of 0 … 1 held in bytes, as image libraries do it: each of the two passes,
/// along rows and along columns, cuts to 0 … 255 and rounds.
Raster lanczos_in_bytes(const Raster& picture, index_t height, index_t width);

}  // namespace flr::data
