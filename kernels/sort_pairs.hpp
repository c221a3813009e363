// A stable sort of (key, position), for gradients whose order of addition is that of the positions.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda {

/// Sorts n pairs by the lowest `bits` bits of the keys; equal keys keep their order. n < 2³¹.
void sort_pairs(const std::uint32_t* keys, std::uint32_t* sorted_keys,
                const std::uint32_t* positions, std::uint32_t* sorted_positions, index_t n,
                int bits);

/// How many bits hold every key up to `largest`; at least 1.
constexpr int bits_for(index_t largest) {
  int bits = 1;
  while (bits < 32 && (largest >> bits) != 0) ++bits;
  return bits;
}

}  // namespace flr::cuda
