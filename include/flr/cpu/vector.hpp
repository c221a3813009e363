// Vectors of the widest registers that the compiler's flags allow, by GCC's and clang's vector
// extensions: + − × ÷ and comparisons are operators, lanes are selected with select().
#pragma once

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <cstring>
#include <type_traits>

#include "flr/cpu/isa.hpp"

// A lambda that must become part of its caller.
#define FLR_LAMBDA_INLINE __attribute__((always_inline))

// Unrolls the loop that follows: arrays of vectors stay in registers only when every index is
// known.
#if defined(__clang__)
#define FLR_UNROLL _Pragma("unroll")
#else
#define FLR_UNROLL _Pragma("GCC unroll 16")
#endif

FLR_CPU_BEGIN
namespace simd {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

template <class T>
struct IntegerOf;
template <>
struct IntegerOf<float> {
  using type = std::int32_t;
};
template <>
struct IntegerOf<double> {
  using type = std::int64_t;
};

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(vector_bytes)));
};
/// A register of T, and one of integers of the same width (comparisons give 0 and −1 in it).
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
using Mask = typename VectorOf<typename IntegerOf<T>::type>::type;
template <class T>
inline constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));

template <class T>
FLR_ALWAYS_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
FLR_ALWAYS_INLINE void store(T* p, std::type_identity_t<Vec<T>> v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
FLR_ALWAYS_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};  // x − 0 keeps the sign of zero
}
/// The first n < lanes values; the others are `rest`.
template <class T>
FLR_ALWAYS_INLINE Vec<T> load_part(const T* p, int n, T rest) {
  Vec<T> v = splat(rest);
  std::memcpy(&v, p, sizeof(T) * static_cast<std::size_t>(n));
  return v;
}
template <class T>
FLR_ALWAYS_INLINE void store_part(T* p, std::type_identity_t<Vec<T>> v, int n) {
  std::memcpy(p, &v, sizeof(T) * static_cast<std::size_t>(n));
}

template <class To, class From>
FLR_ALWAYS_INLINE To bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To r;
  std::memcpy(&r, &v, sizeof r);
  return r;
}

template <class T>
FLR_ALWAYS_INLINE Vec<T> select(Mask<T> mask, std::type_identity_t<Vec<T>> yes,
                                std::type_identity_t<Vec<T>> no) {
  return bits<Vec<T>>((mask & bits<Mask<T>>(yes)) | (~mask & bits<Mask<T>>(no)));
}
/// The larger lane; the second where either is NaN.
template <class T>
FLR_ALWAYS_INLINE Vec<T> vmax(std::type_identity_t<Vec<T>> a, std::type_identity_t<Vec<T>> b) {
  return a > b ? a : b;  // one instruction, which select() would hide
}
template <class T>
FLR_ALWAYS_INLINE Vec<T> vmin(std::type_identity_t<Vec<T>> a, std::type_identity_t<Vec<T>> b) {
  return a < b ? a : b;
}
template <class T>
FLR_ALWAYS_INLINE Mask<T> sign_bit() {
  return bits<Mask<T>>(splat(T(-0.0)));
}
template <class T>
FLR_ALWAYS_INLINE Vec<T> vabs(std::type_identity_t<Vec<T>> v) {
  return bits<Vec<T>>(bits<Mask<T>>(v) & ~sign_bit<T>());
}
template <class T>
FLR_ALWAYS_INLINE Vec<T> copy_sign(std::type_identity_t<Vec<T>> magnitude,
                                   std::type_identity_t<Vec<T>> sign) {
  return bits<Vec<T>>((bits<Mask<T>>(magnitude) & ~sign_bit<T>()) |
                      (bits<Mask<T>>(sign) & sign_bit<T>()));
}

/// a · b + c, fused where the hardware can: under -std=c++20 g++ does not contract by itself.
FLR_ALWAYS_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}
FLR_ALWAYS_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_pd(a, b, c);
#else
  return a * b + c;
#endif
}

/// Sum and largest of the lanes, in a fixed order.
template <class T>
FLR_ALWAYS_INLINE T sum(std::type_identity_t<Vec<T>> v) {
  T x[lanes<T>];
  store(x, v);
  for (int half = lanes<T> / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) x[i] += x[i + half];
  return x[0];
}
template <class T>
FLR_ALWAYS_INLINE T largest(std::type_identity_t<Vec<T>> v) {
  T x[lanes<T>];
  store(x, v);
  for (int half = lanes<T> / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
  return x[0];
}

}  // namespace simd
FLR_CPU_END
