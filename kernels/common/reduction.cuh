// How reductions join values, and where their results go.
#pragma once

#include "common/elementwise.cuh"

namespace flr::cuda {

struct Sum {
  template <class C>
  __device__ static C identity() {
    return C(0);
  }
  template <class C>
  __device__ static C join(C a, C b) {
    return a + b;
  }
  __device__ static double scaled(double x, double scale) { return x * scale; }
};
struct Max {
  template <class C>
  __device__ static C identity() {
    return -C(INFINITY);
  }
  /// NaN once there was one.
  template <class C>
  __device__ static C join(C a, C b) {
    return a > b || a != a ? a : b;
  }
  __device__ static double scaled(double x, double) { return x; }
};

/// Where results go: to y, or, as one piece of several, to part[piece, result].
template <class T>
struct Sink {
  T* y;
  double* part;
  index_t results;
  double scale;
  bool accumulate;
  bool packed = false;  ///< results go to y, which is aligned to packs of them

  template <class Op>
  __device__ void finish(index_t i, double value) const {
    value = Op::scaled(value, scale);
    if (accumulate) value = Op::join(static_cast<double>(to_compute(y[i])), value);
    y[i] = from_compute<T>(static_cast<compute_t<T>>(value));
  }
  /// N neighbouring results.
  template <class Op, int N>
  __device__ void put_pack(index_t i, index_t piece, const double (&values)[N]) const {
    if (!packed) {
#pragma unroll
      for (int j = 0; j < N; ++j) put<Op>(i + j, piece, values[j]);
      return;
    }
    Pack<T, N> out;
    if (accumulate) out = load_pack<N>(y + i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      double value = Op::scaled(values[j], scale);
      if (accumulate) value = Op::join(static_cast<double>(to_compute(out.v[j])), value);
      out.v[j] = from_compute<T>(static_cast<compute_t<T>>(value));
    }
    store_pack(y + i, out);
  }
  template <class Op>
  __device__ void put(index_t i, index_t piece, double value) const {
    if (part)
      part[piece * results + i] = value;
    else
      finish<Op>(i, value);
  }
};

}  // namespace flr::cuda
