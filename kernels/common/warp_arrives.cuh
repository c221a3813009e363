// Warps at a barrier in shared memory (common/barrier.cuh).
#pragma once

#include "common/barrier.cuh"

namespace flr::cuda {

/// What a warp counts for at a barrier: one lane arrives for all. compute-sanitizer's racecheck follows arrivals
/// thread by thread, and takes what the other lanes did for unordered: for it alone every lane arrives.
#ifdef FLR_RACECHECK
inline constexpr int arrivals_of_warp = 32;
#else
inline constexpr int arrivals_of_warp = 1;
#endif

/// All lanes are done with what the barrier guards.
__device__ inline void warp_arrives(unsigned barrier) {
  __syncwarp();
  if (threadIdx.x % 32 < arrivals_of_warp) barrier_arrive(barrier);
}

}  // namespace flr::cuda
