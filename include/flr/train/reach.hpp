// How far each point of a cloud reaches in a picture.
#pragma once

#include <span>
#include <vector>

namespace flr::train {

/// For points at (x, y, z) in pixels: nine tenths of the distance to the sixth-nearest other point,
/// which closes the gaps of an irregular cloud and leaves holes in the domain open; at least 1.5
/// pixels. Where a cloud has fewer than six other points, the furthest of them counts.
std::vector<double> reach_of_points(std::span<const double> x, std::span<const double> y,
                                    std::span<const double> z);

}  // namespace flr::train
