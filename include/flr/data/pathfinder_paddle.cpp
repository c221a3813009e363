#include "flr/data/pathfinder_paddle.hpp"

#include <algorithm>
#include <cmath>

namespace flr::data {

PixelPosition moved(PixelPosition from, double angle, double distance) {
  // The sum is rounded up, not the step: what sine and cosine leave of a right angle, 1e-16, is
  // lost in it, and would else turn a paddle along an axis into a bent one.
  return {
      static_cast<index_t>(std::ceil(static_cast<double>(from.y) + distance * std::sin(angle))),
      static_cast<index_t>(std::ceil(static_cast<double>(from.x) + distance * std::cos(angle)))};
}

Paddles::Paddles(const PathfinderRecipe& recipe, index_t margin)
    : length_(recipe.paddle_length),
      margin_(margin),
      supersampling_(recipe.supersampling),
      thickness_(recipe.thickness),
      half_(length_ + static_cast<index_t>(std::ceil(thickness_)) + margin_) {}

const Paddle& Paddles::operator()(double angle) {
  const index_t centre = half_ * supersampling_;
  const PixelPosition end =
      moved({centre, centre}, angle, static_cast<double>(length_ * supersampling_));
  auto [at, fresh] = drawn_.try_emplace({end.y, end.x});
  if (fresh) at->second = draw(end);
  return at->second;
}

Paddle Paddles::draw(PixelPosition end) const {
  Paddle paddle;
  paddle.half = half_;
  const index_t side = 2 * paddle.half + 1, centre = paddle.half * supersampling_;
  Raster large(2 * centre + 1, 2 * centre + 1);
  const auto width = std::lround(thickness_ * static_cast<double>(supersampling_));
  draw_line(large, centre, centre, end.y, end.x, width);
  paddle.line = lanczos(large, side, side);
  paddle.mask = lanczos(dilate(large, margin_ * supersampling_), side, side);
  // The original holds masks in bytes, and where one is full decides what a seed may cover.
  for (double& v : paddle.mask.values) v = std::round(255 * std::clamp(v, 0.0, 1.0)) / 255;
  for (index_t y = 0; y < side; ++y)
    for (index_t x = 0; x < side; ++x)
      if (paddle.mask.at(y, x) == 1) paddle.covered.push_back({y - paddle.half, x - paddle.half});
  return paddle;
}

}  // namespace flr::data
