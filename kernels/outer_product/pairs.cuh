// Pairs of bf16 in a register, multiplied element by element.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace flr::cuda::outer_product {

using u32 = std::uint32_t;

/// (a.low · b.low, a.high · b.high), each rounded.
__device__ inline u32 multiply_pairs(u32 a, u32 b) {
  const __nv_bfloat162 x = *reinterpret_cast<const __nv_bfloat162*>(&a);
  const __nv_bfloat162 y = *reinterpret_cast<const __nv_bfloat162*>(&b);
  const __nv_bfloat162 z = __hmul2(x, y);
  return *reinterpret_cast<const u32*>(&z);
}

/// The low (half 0) or high (half 1) value of a pair, twice.
template <int Half>
__device__ u32 both(u32 pair) {
  return __byte_perm(pair, 0, Half ? 0x3232 : 0x1010);
}

}  // namespace flr::cuda::outer_product
