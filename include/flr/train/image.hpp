// An RGB picture in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flr/core/error.hpp"

namespace flr::train {

/// A colour in sRGB, 8 bits a channel.
struct Rgb {
  std::uint8_t r = 0, g = 0, b = 0;
  bool operator==(const Rgb&) const = default;
};

/// Pixels row by row from the top left. `fill` and `set` ignore what lies outside, so that drawing
/// code need not clip.
class Image {
 public:
  Image(int width, int height, Rgb background = {255, 255, 255}) : width_(width), height_(height) {
    check(width > 0 && height > 0, "[image] expected a positive size; got {} x {}", width, height);
    pixels_.assign(static_cast<std::size_t>(width) * static_cast<std::size_t>(height), background);
  }

  int width() const { return width_; }
  int height() const { return height_; }
  const std::vector<Rgb>& pixels() const { return pixels_; }

  Rgb at(int x, int y) const {
    check(inside(x, y), "[image] expected a pixel within {} x {}; got ({}, {})", width_, height_, x,
          y);
    return pixels_[offset(x, y)];
  }
  void set(int x, int y, Rgb colour) {
    if (inside(x, y)) pixels_[offset(x, y)] = colour;
  }
  void fill(int x, int y, int width, int height, Rgb colour) {
    for (int j = y; j < y + height; ++j)
      for (int i = x; i < x + width; ++i) set(i, j, colour);
  }

 private:
  bool inside(int x, int y) const { return x >= 0 && y >= 0 && x < width_ && y < height_; }
  std::size_t offset(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(x);
  }

  int width_, height_;
  std::vector<Rgb> pixels_;
};

}  // namespace flr::train
