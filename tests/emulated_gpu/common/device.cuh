// In place of kernels/common/device.cuh: conversions of the host.
#pragma once

#include <math.h>

#include "stream.hpp"

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
struct uint2 {
  unsigned x, y;
};

template <class X>
X min(X a, X b) {
  return b < a ? b : a;
}
template <class X>
X max(X a, X b) {
  return a < b ? b : a;
}

inline float __uint_as_float(std::uint32_t x) {
  float y;
  std::memcpy(&y, &x, 4);
  return y;
}
inline std::uint32_t __float_as_uint(float x) {
  std::uint32_t y;
  std::memcpy(&y, &x, 4);
  return y;
}

namespace flr::cuda {

inline float to_compute(float x) {
  return x;
}
inline double to_compute(double x) {
  return x;
}
inline float to_compute(bf16 x) {
  return x;
}

template <class T>
T from_compute(compute_t<T> x) {
  return T(x);
}

template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T v[N];
};
template <class T>
inline constexpr int pack_width = 16 / int(sizeof(T));

template <class T>
void put(T* at, compute_t<T> value, bool accumulate) {
  *at = from_compute<T>(accumulate ? to_compute(*at) + value : value);
}

inline float warp_sum(float x) {
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
  return x;
}
inline float warp_max(float x) {
  for (int d = 16; d > 0; d /= 2) {
    const float y = __shfl_xor_sync(0xffffffffu, x, d);
    x = y > x ? y : x;
  }
  return x;
}
inline float shuffle_apart(float x) {
  return __shfl_xor_sync(0xffffffffu, x, 2);
}

inline int thread_apart() {
  return int(threadIdx.x);
}

inline std::uint32_t load_apart(const void* at) {
  std::uint32_t x;
  std::memcpy(&x, at, 4);
  return x;
}
inline void prefetch(const void*) {}

}  // namespace flr::cuda
