// Short labels on pictures, in a 5 x 7 bitmap font.
#pragma once

#include <string_view>

#include "flr/train/image.hpp"

namespace flr::train {

inline constexpr int glyph_width = 5, glyph_height = 7, glyph_advance = 6;
/// Dots below the line, in g, j, p, q, y.
inline constexpr int glyph_descent = 2;

/// Pixels that `text` takes in width, without the gap behind its last letter.
int text_width(std::string_view text, int scale = 1);

/// Draws ASCII text with its top left corner at (x, y), each dot `scale` pixels wide; any other
/// character appears as a filled box.
void draw_text(Image& image, int x, int y, std::string_view text, Rgb colour, int scale = 1);

}  // namespace flr::train
