// Vectors of the compute type from any storage type, the ends of arrays, and square roots.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "flr/cpu/vector.hpp"

FLR_CPU_BEGIN
namespace simd {

/// n ≤ lanes values; where fewer than a vector are there, the others are 1, which no word minds.
template <class T>
FLR_ALWAYS_INLINE Vec<compute_t<T>> load_any(const T* p, index_t n) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
    return n == lanes<C> ? load(p) : load_part(p, static_cast<int>(n), C(1));
  } else {
    C x[lanes<C>];
    for (int i = 0; i < lanes<C>; ++i) x[i] = i < n ? static_cast<C>(p[i]) : C(1);
    return load(x);
  }
}

template <class T>
FLR_ALWAYS_INLINE void store_any(T* p, std::type_identity_t<Vec<compute_t<T>>> v, index_t n) {
  using C = compute_t<T>;
  if constexpr (std::is_same_v<T, C>) {
    if (n == lanes<C>)
      store(p, v);
    else
      store_part(p, v, static_cast<int>(n));
  } else {
    C x[lanes<C>];
    store(x, v);
    for (int i = 0; i < n; ++i) p[i] = static_cast<T>(x[i]);
  }
}

/// Runs body(i, n) for vectors of n = lanes elements, and for the rest. The two calls are apart so
/// that the compiler sees a constant n in the first.
template <class C, class Body>
FLR_ALWAYS_INLINE void for_vectors(index_t begin, index_t end, Body&& body) {
  constexpr index_t step = lanes<C>;
  for (; begin + step <= end; begin += step) body(begin, step);
  if (begin < end) body(begin, end - begin);
}

// The builtin of a scalar sets errno, which keeps the compiler from using the vector instruction.
// With AVX-512 the masked form: the plain one starts from an undefined register, which g++ 12 warns
// of.
#if defined(__AVX512F__)
FLR_ALWAYS_INLINE Vec<float> sqrt(Vec<float> x) {
  return _mm512_maskz_sqrt_ps(0xFFFF, x);
}
FLR_ALWAYS_INLINE Vec<double> sqrt(Vec<double> x) {
  return _mm512_maskz_sqrt_pd(0xFF, x);
}
#elif defined(__AVX__)
FLR_ALWAYS_INLINE Vec<float> sqrt(Vec<float> x) {
  return _mm256_sqrt_ps(x);
}
FLR_ALWAYS_INLINE Vec<double> sqrt(Vec<double> x) {
  return _mm256_sqrt_pd(x);
}
#elif defined(__SSE2__)
FLR_ALWAYS_INLINE Vec<float> sqrt(Vec<float> x) {
  return _mm_sqrt_ps(x);
}
FLR_ALWAYS_INLINE Vec<double> sqrt(Vec<double> x) {
  return _mm_sqrt_pd(x);
}
#else
FLR_ALWAYS_INLINE Vec<float> sqrt(Vec<float> x) {
  for (int i = 0; i < lanes<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
FLR_ALWAYS_INLINE Vec<double> sqrt(Vec<double> x) {
  for (int i = 0; i < lanes<double>; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
}
#endif

}  // namespace simd
FLR_CPU_END
