// Colours for fields: two perceptually uniform maps.
#pragma once

#include "flr/train/image.hpp"

namespace flr::train {

enum class Colormap {
  sequential,  ///< dark violet through green to yellow: fields
  diverging,   ///< blue through near-white to red: signed errors, zero in the middle
};

/// The colour of `t` in [0, 1]; values outside are clamped, NaN is grey.
///
/// Both maps are curves in Oklab (Björn Ottosson, "A perceptual color space for image processing",
/// 2020, whose conversion matrices are used) with 256 entries at equal distances along the curve,
/// so that equal steps of a field look equal, and with lightness that rises steadily (sequential)
/// or falls alike to both sides (diverging), so that they also read in grey.
Rgb colour(Colormap map, double t);

}  // namespace flr::train
