// What all kernels share on the device: scalars and their conversions, sums in a fixed order.
#pragma once

#include <cuda_bf16.h>

#include "stream.hpp"

namespace flr::cuda {

// flr::bf16 is the host's type; its bits are those of __nv_bfloat16.
__device__ inline float to_compute(float x) { return x; }
__device__ inline double to_compute(double x) { return x; }
__device__ inline float to_compute(bf16 x) { return __uint_as_float(unsigned(x.bits) << 16); }

template <class T>
__device__ T from_compute(compute_t<T> x);
template <>
__device__ inline float from_compute<float>(float x) { return x; }
template <>
__device__ inline double from_compute<double>(double x) { return x; }
template <>
__device__ inline bf16 from_compute<bf16>(float x) {
  bf16 y;
  y.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
  return y;
}

/// N neighbouring values, moved by one instruction where N·sizeof(T) is 4, 8 or 16.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T v[N];
};
/// Values of T in 16 bytes.
template <class T>
inline constexpr int pack_width = 16 / int(sizeof(T));

/// Four bytes by a load of their own, which is not made part of a wider one.
__device__ inline std::uint32_t load_apart(const void* at) {
  std::uint32_t x;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(x) : "l"(at));
  return x;
}
/// Brings a line into the second-level cache.
__device__ inline void prefetch(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}
/// threadIdx.x, in a register of its own each time it is asked for: addresses that follow from it are
/// computed anew and not kept.
__device__ inline int thread_apart() {
  int x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return x;
}
/// What lane ^ 2 has, in a register of its own each time it is asked for.
__device__ inline float shuffle_apart(float x) {
  float y;
  asm volatile("shfl.sync.bfly.b32 %0, %1, 2, 31, 0xffffffff;" : "=f"(y) : "f"(x));
  return y;
}

/// Writes or adds, as a gradient's mode says.
template <class T>
__device__ void put(T* at, compute_t<T> value, bool accumulate) {
  *at = from_compute<T>(accumulate ? to_compute(*at) + value : value);
}

/// The sum over a warp, in every lane; always added in the same order.
template <class C>
__device__ C warp_sum(C x) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
  return x;
}
template <class C>
__device__ C warp_max(C x) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) {
    const C y = __shfl_xor_sync(0xffffffffu, x, d);
    x = y > x ? y : x;  // a NaN in x stays
  }
  return x;
}

/// The sum over a block of `Threads` threads, in every thread. `part` is shared memory of
/// Threads / 32 values; may be called again at once.
template <int Threads, class C>
__device__ C block_sum(C x, C* part) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
  __syncthreads();
  C sum = 0;
#pragma unroll
  for (int w = 0; w < Threads / 32; ++w) sum += part[w];
  return sum;
}

/// Grid-stride loops run at most this many blocks: enough to fill the chip several times.
inline unsigned grid_for(index_t work, int per_block) {
  const index_t blocks = ceil_div(work, per_block), most = index_t{multiprocessors()} * 16;
  return static_cast<unsigned>(blocks < most ? (blocks > 0 ? blocks : 1) : most);
}

}  // namespace flr::cuda
