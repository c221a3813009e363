// In place of kernels/common/device.cuh: conversions of the host.
#pragma once

#include <math.h>

#include "stream.hpp"

namespace flr::cuda {

inline float to_compute(bf16 x) {
  return x;
}

template <class T>
T from_compute(float x) {
  return T(x);
}

}  // namespace flr::cuda
