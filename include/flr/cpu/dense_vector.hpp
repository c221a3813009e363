// Vectors as the dense kernels use them, and rows with a ragged end.
#pragma once

#include "flr/cpu/vector.hpp"

FLR_CPU_BEGIN
namespace dense {

using simd::fma;
using simd::lanes;
using simd::load;
using simd::splat;
using simd::store;
using simd::sum;
using simd::Vec;

/// How a function that runs along a row reads and writes it: whole vectors, or the first `count`
/// elements of one, the others being 0.
template <class T>
struct Whole {
  FLR_ALWAYS_INLINE Vec<T> load(const T* p) const { return simd::load(p); }
  FLR_ALWAYS_INLINE void store(T* p, Vec<T> v) const { simd::store(p, v); }
};
template <class T>
struct Part {
  int count;
  FLR_ALWAYS_INLINE Vec<T> load(const T* p) const {
    T x[lanes<T>];
    for (int i = 0; i < lanes<T>; ++i) x[i] = i < count ? p[i] : T(0);
    return simd::load(x);
  }
  FLR_ALWAYS_INLINE void store(T* p, Vec<T> v) const {
    for (int i = 0; i < lanes<T>; ++i)
      if (i < count) p[i] = v[i];
  }
};

/// body(j, access) for vectors at j = 0, lanes, … of n elements; `access` is Whole or Part.
template <class T, class Body>
FLR_ALWAYS_INLINE void for_vectors(index_t n, Body&& body) {
  index_t j = 0;
  for (; j + lanes<T> <= n; j += lanes<T>) body(j, Whole<T>{});
  if (j < n) body(j, Part<T>{static_cast<int>(n - j)});
}

}  // namespace dense
FLR_CPU_END
