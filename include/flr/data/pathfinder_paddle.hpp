// The paddles that Pathfinder's curves are made of.
#pragma once

#include <map>
#include <utility>

#include "flr/data/pathfinder.hpp"
#include "flr/data/raster.hpp"

namespace flr::data {

struct PixelPosition {
  index_t y = 0, x = 0;
};

/// `from` moved by `distance` in direction `angle`, rounded up on both axes as the original does.
PixelPosition moved(PixelPosition from, double angle, double distance);

/// A paddle as it lies around its start, the centre pixel.
struct Paddle {
  index_t half = 0;  ///< pixels from the centre to an edge
  Raster line;       ///< amplitude 1, overshoot kept
  Raster mask;       ///< what it occupies with its margin, 0 … 1
  /// Where the image must be free for a curve to begin with this paddle, as offsets from its start.
  std::vector<PixelPosition> needed;
  /// Whether a curve can begin with this paddle at all.
  bool begins_curves = false;
};

/// Paddles by direction, drawn once: directions whose far end is the same pixel of the large canvas
/// share one.
class Paddles {
 public:
  Paddles(const PathfinderRecipe& recipe, index_t margin);
  const Paddle& operator()(double angle);

 private:
  Paddle draw(PixelPosition end) const;
  std::vector<PixelPosition> needed_pixels(const Paddle& paddle) const;
  static bool sees_every_corner(const std::vector<PixelPosition>& needed);

  index_t length_, margin_, supersampling_;
  double thickness_;
  index_t half_;
  std::map<std::pair<index_t, index_t>, Paddle> drawn_;
};

}  // namespace flr::data
