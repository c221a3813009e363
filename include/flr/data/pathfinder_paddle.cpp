#include "flr/data/pathfinder_paddle.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

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
  // The original holds masks in bytes, and where one is full decides where a curve can begin.
  paddle.mask = lanczos_in_bytes(dilate(large, margin_ * supersampling_), side, side);
  paddle.needed = needed_pixels(paddle);
  paddle.begins_curves = sees_every_corner(paddle.needed);
  return paddle;
}

// The original looks for room by dilating what is occupied with the paddle's full mask, drawn on a
// canvas of 2 (length + margin) + 1 pixels, whose start lies one pixel below and to the right of
// the middle that the dilation takes for its origin.
std::vector<PixelPosition> Paddles::needed_pixels(const Paddle& paddle) const {
  const index_t reach = length_ + margin_;
  std::vector<PixelPosition> needed;
  for (index_t y = 0; y < paddle.mask.height; ++y)
    for (index_t x = 0; x < paddle.mask.width; ++x) {
      const PixelPosition at{y - paddle.half + 1, x - paddle.half + 1};
      if (paddle.mask.at(y, x) == 1 && std::max(std::abs(at.y), std::abs(at.x)) <= reach)
        needed.push_back(at);
    }
  return needed;
}

// Outside the image the original's dilation sees the lowest number there is, and a search that
// finds a pixel with nothing but that around it gives up. Such a pixel, if any, is a corner. With
// thin paddles and a margin of one pixel only those that point up and to the left are left: this is
// why real 32 x 32 images hold 1.2 of 5 distractors on average, and why their curves begin to the
// upper left.
bool Paddles::sees_every_corner(const std::vector<PixelPosition>& needed) {
  const auto sees = [&](bool below, bool right) {
    return std::ranges::any_of(needed, [&](PixelPosition p) {
      return (below ? p.y >= 0 : p.y <= 0) && (right ? p.x >= 0 : p.x <= 0);
    });
  };
  return sees(false, false) && sees(false, true) && sees(true, false) && sees(true, true);
}

}  // namespace flr::data
