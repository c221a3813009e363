// How a map's inputs are walked: axes merged over all inputs, and packs along the last one.
#pragma once

#include <vector>

#include "flr/core/shape.hpp"

namespace flr::cuda {

struct MapLayout {
  int rank = 0;                               ///< at least 1 after merge()
  index_t extent[max_rank] = {};              ///< outermost first
  std::vector<std::vector<index_t>> strides;  ///< [input][axis]
  int width = 1;                              ///< elements in a pack
  bool wide = false;  ///< whether 32 bits are too few for indices or offsets

  /// Axes of extent 1 vanish; neighbours that every input runs through without a gap are one.
  MapLayout(const Shape& shape, const std::vector<const Shape*>& input_strides);

  /// The widest pack of at most `most` elements, of `bytes` each, that every input and output
  /// allows: `pointers` are all of them, `inputs` the first strides.size().
  void choose_width(int most, int bytes, const std::vector<const void*>& pointers);

  bool packed(std::size_t input) const { return strides[input][last()] == 1; }
  /// Whether an input would be read across rows of memory, one element of a line at a time.
  bool scattered(std::size_t input) const;
  std::size_t last() const { return static_cast<std::size_t>(rank - 1); }
};

}  // namespace flr::cuda
