#include "map_layout.hpp"

#include <cstdint>
#include <cstdlib>

namespace flr::cuda {

MapLayout::MapLayout(const Shape& shape, const std::vector<const Shape*>& input_strides)
    : strides(input_strides.size(), std::vector<index_t>(max_rank + 1)) {
  for (int axis = 0; axis < shape.rank(); ++axis) {
    index_t n = shape[axis];
    if (n == 1) continue;
    bool continues = rank > 0;
    for (std::size_t i = 0; continues && i < strides.size(); ++i)
      continues = strides[i][last()] == (*input_strides[i])[axis] * n;
    if (continues) n *= extent[--rank];
    for (std::size_t i = 0; i < strides.size(); ++i)
      strides[i][static_cast<std::size_t>(rank)] = (*input_strides[i])[axis];
    extent[rank++] = n;
  }
  if (rank == 0) {  // one element
    extent[rank++] = 1;
    for (auto& s : strides) s[0] = 1;
  }

  constexpr index_t most = (index_t{1} << 31) - 1;
  index_t elements = 1;
  for (int axis = 0; axis < rank; ++axis) elements *= extent[axis];
  wide = elements > most;
  for (const auto& s : strides) {
    index_t reach = 0;
    for (int axis = 0; axis < rank; ++axis)
      reach += std::abs(s[static_cast<std::size_t>(axis)]) * (extent[axis] - 1);
    wide |= reach > most;
  }
}

void MapLayout::choose_width(int most, int bytes, const std::vector<const void*>& pointers) {
  const auto fits = [&](index_t w) {
    // A single axis may leave a rest, which the kernel treats apart.
    if (rank > 1 && extent[last()] % w != 0) return false;
    for (std::size_t i = 0; i < pointers.size(); ++i) {
      if (i < strides.size() && !packed(i)) continue;
      if (reinterpret_cast<std::uintptr_t>(pointers[i]) % static_cast<std::uintptr_t>(w * bytes))
        return false;
      if (i < strides.size())
        for (int axis = 0; axis + 1 < rank; ++axis)
          if (strides[i][static_cast<std::size_t>(axis)] % w != 0) return false;
    }
    return true;
  };
  width = 1;
  for (std::size_t i = 0; i < strides.size(); ++i)
    if (strides[i][last()] != 0 && !packed(i)) return;
  for (width = most; width > 1 && !fits(width);) width /= 2;
}

bool MapLayout::scattered(std::size_t input) const {
  bool rows = false;
  for (std::size_t axis = 0; axis < last(); ++axis) rows |= strides[input][axis] == 1;
  return rows && std::abs(strides[input][last()]) > 1;
}

}  // namespace flr::cuda
