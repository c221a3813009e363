// In place of kernels/linear_attention/turn.cuh: row r of the matrix lies in lanes 4r … 4r + 3, two
// columns in each, the first in the lower half; a lane receives the same places of the transpose.
#pragma once

#include "common/mma.cuh"

namespace flr::cuda::linear_attention {

inline std::uint32_t turned(std::uint32_t x) {
  const auto& all = ::emulated::Block::current()->exchange(::emulated::Instruction::shuffle, {x});
  const unsigned lane = threadIdx.x % 32, row = lane / 4;
  std::uint32_t y = 0;
  for (unsigned half = 0; half < 2; ++half) {
    const unsigned column = 2 * (lane % 4) + half;
    const std::uint32_t word = all[4 * column + row / 2][0];
    y |= (row % 2 ? word >> 16 : word & 0xffffu) << 16 * half;
  }
  return y;
}

inline float low_half(std::uint32_t x) {
  bf16 y;
  y.bits = std::uint16_t(x);
  return y;
}
inline float high_half(std::uint32_t x) {
  return low_half(x >> 16);
}

}  // namespace flr::cuda::linear_attention
