// Registers of two bf16: matrices of them turned round within a warp, and their halves. Apart from the
// rest, since there are others where there is no GPU.
#pragma once

#include "common/mma.cuh"

namespace flr::cuda::linear_attention {

__device__ inline std::uint32_t turned(std::uint32_t x) { return transpose_8x8(x); }
__device__ inline float low_half(std::uint32_t x) { return low_bf16(x); }
__device__ inline float high_half(std::uint32_t x) { return high_bf16(x); }

}  // namespace flr::cuda::linear_attention
