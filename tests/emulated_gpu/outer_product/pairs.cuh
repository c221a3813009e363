// In place of kernels/outer_product/pairs.cuh; and what else of CUDA these kernels use.
#pragma once

#include "common/mma.cuh"

template <class T>
T __shfl_sync(unsigned, T x, int from) {
  static_assert(sizeof(T) == 4);
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const auto all = emulated::Block::current()->exchange(emulated::Instruction::shuffle,
                                                        emulated::Operands{bits});
  std::memcpy(&x, &all[std::size_t(from % 32)][0], 4);
  return x;
}

namespace flr::cuda::outer_product {

using u32 = std::uint32_t;

inline u32 multiply_pairs(u32 a, u32 b) {
  return pack_bf16(low_bf16(a) * low_bf16(b), high_bf16(a) * high_bf16(b));
}

template <int Half>
u32 both(u32 pair) {
  const u32 x = pair >> (16 * Half) & 0xffffu;
  return x | x << 16;
}

}  // namespace flr::cuda::outer_product
