#include "flr/data/raster.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>

namespace flr::data {

namespace {

void bresenham(Raster& picture, index_t y, index_t x, index_t y1, index_t x1) {
  const index_t dy = std::abs(y1 - y), dx = std::abs(x1 - x);
  const index_t step_y = y1 < y ? -1 : 1, step_x = x1 < x ? -1 : 1;
  const bool flat = dx > dy;
  const index_t along = flat ? dx : dy, across = flat ? dy : dx;
  index_t error = 2 * across - along;
  for (index_t i = 0; i <= along; ++i) {
    if (picture.inside(y, x)) picture.at(y, x) = 1;
    if (error >= 0) {
      (flat ? y : x) += flat ? step_y : step_x;
      error -= 2 * along;
    }
    error += 2 * across;
    (flat ? x : y) += flat ? step_x : step_y;
  }
}

double window(double x) {
  constexpr double lobes = 3;
  x = std::abs(x);
  if (x >= lobes) return 0;
  if (x == 0) return 1;
  const double a = std::numbers::pi * x, b = a / lobes;
  return std::sin(a) / a * (std::sin(b) / b);
}

// Scales rows to `width` and transposes: twice this is the whole.
Raster scale_rows(const Raster& picture, index_t width) {
  Raster out(width, picture.height);
  const double factor = static_cast<double>(picture.width) / static_cast<double>(width);
  const double stretch = std::max(factor, 1.0), support = 3 * stretch;
  std::vector<double> weights;
  for (index_t i = 0; i < width; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * factor;
    const auto begin = static_cast<index_t>(std::max(0.0, centre - support + 0.5));
    const auto end = std::min(picture.width, static_cast<index_t>(centre + support + 0.5));
    weights.clear();
    double sum = 0;
    for (index_t x = begin; x < end; ++x) {
      weights.push_back(window((static_cast<double>(x) - centre + 0.5) / stretch));
      sum += weights.back();
    }
    for (index_t y = 0; y < picture.height; ++y) {
      double value = 0;
      for (index_t x = begin; x < end; ++x)
        value += weights[static_cast<std::size_t>(x - begin)] * picture.at(y, x);
      out.at(i, y) = value / sum;
    }
  }
  return out;
}

}  // namespace

void draw_line(Raster& picture, index_t y0, index_t x0, index_t y1, index_t x1, index_t width) {
  if (width <= 1 || (y0 == y1 && x0 == x1)) return bresenham(picture, y0, x0, y1, x1);
  const auto dy = static_cast<double>(y1 - y0), dx = static_cast<double>(x1 - x0);
  const double length = std::hypot(dy, dx), half = static_cast<double>(width) / 2;
  for (index_t y = 0; y < picture.height; ++y)
    for (index_t x = 0; x < picture.width; ++x) {
      const auto v = static_cast<double>(y - y0), u = static_cast<double>(x - x0);
      const double along = (v * dy + u * dx) / length, beside = (v * dx - u * dy) / length;
      if (along >= 0 && along <= length && std::abs(beside) <= half) picture.at(y, x) = 1;
    }
}

void draw_disc(Raster& picture, double y, double x, double radius) {
  for (index_t i = 0; i < picture.height; ++i)
    for (index_t j = 0; j < picture.width; ++j) {
      const double v = static_cast<double>(i) - y, u = static_cast<double>(j) - x;
      if (v * v + u * u <= radius * radius) picture.at(i, j) = 1;
    }
}

Raster dilate(const Raster& picture, index_t radius) {
  Raster out = picture;
  for (index_t v = -radius; v <= radius; ++v)
    for (index_t u = -radius; u <= radius; ++u) {
      if (v * v + u * u > radius * radius) continue;
      for (index_t y = std::max<index_t>(0, -v); y < std::min(picture.height, picture.height - v);
           ++y)
        for (index_t x = std::max<index_t>(0, -u); x < std::min(picture.width, picture.width - u);
             ++x)
          out.at(y, x) = std::max(out.at(y, x), picture.at(y + v, x + u));
    }
  return out;
}

Raster lanczos(const Raster& picture, index_t height, index_t width) {
  return scale_rows(scale_rows(picture, width), height);
}

Raster lanczos_in_bytes(const Raster& picture, index_t height, index_t width) {
  const auto bytes = [](Raster r) {
    for (double& v : r.values) v = std::round(255 * std::clamp(v, 0.0, 1.0)) / 255;
    return r;
  };
  return bytes(scale_rows(bytes(scale_rows(picture, width)), height));
}

}  // namespace flr::data
