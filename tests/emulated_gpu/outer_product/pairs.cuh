// In place of kernels/outer_product/pairs.cuh.
#pragma once

#include "common/mma.cuh"

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
