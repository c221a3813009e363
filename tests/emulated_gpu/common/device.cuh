// In place of kernels/common/device.cuh: conversions of the host.
#pragma once

#include <math.h>

#include "stream.hpp"

namespace flr::cuda {

inline float to_compute(float x) {
  return x;
}
inline float to_compute(bf16 x) {
  return x;
}

template <class T>
T from_compute(float x) {
  return T(x);
}

template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T v[N];
};

template <class T>
void put(T* at, float value, bool accumulate) {
  *at = from_compute<T>(accumulate ? to_compute(*at) + value : value);
}

}  // namespace flr::cuda
