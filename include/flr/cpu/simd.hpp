// Vectors as wide as the compiler's flags allow, over the vector extensions that GCC and clang
// share. The arithmetic operators, comparisons and ?: come with the language extension; here is
// what it lacks. A comparison gives a vector of integers of the same width, all ones where it
// holds.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "flr/cpu/isa.hpp"

FLR_CPU_BEGIN
namespace simd {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

template <class T, int Lanes>
struct VecOf {
  typedef T type __attribute__((vector_size(Lanes * sizeof(T))));
};
/// A vector of `Lanes` values of T; Lanes is a power of two.
template <class T, int Lanes>
using Vec = typename VecOf<T, Lanes>::type;

/// How many values of T a full register holds, and that register's type.
template <class T>
inline constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));
template <class T>
using Vector = Vec<T, lanes<T>>;

/// The scalar of a vector type, its number of lanes, and the integers of a comparison.
template <class V>
using scalar_of = std::remove_cvref_t<decltype(std::declval<V>()[0])>;
template <class V>
inline constexpr int lanes_of = static_cast<int>(sizeof(V) / sizeof(scalar_of<V>));
template <class V>
using mask_of = decltype(std::declval<V>() < std::declval<V>());

/// The same register read as unsigned integers.
template <class V>
using bits_of =
    Vec<std::conditional_t<sizeof(scalar_of<V>) == 4, std::uint32_t, std::uint64_t>, lanes_of<V>>;

template <class V>
FLR_ALWAYS_INLINE V load(const scalar_of<V>* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class V>
FLR_ALWAYS_INLINE void store(scalar_of<V>* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

/// The first n < lanes_of<V> values from memory, `fill` in the other lanes; and their store.
template <class V>
FLR_ALWAYS_INLINE V load_part(const scalar_of<V>* p, index_t n, scalar_of<V> fill = 0) {
  scalar_of<V> lane[lanes_of<V>];
  for (int i = 0; i < lanes_of<V>; ++i) lane[i] = i < n ? p[i] : fill;
  return load<V>(lane);
}
template <class V>
FLR_ALWAYS_INLINE void store_part(scalar_of<V>* p, V v, index_t n) {
  for (int i = 0; i < lanes_of<V>; ++i)
    if (i < n) p[i] = v[i];
}

/// x in every lane. Subtracting zero, not adding it, keeps the sign of x = −0.
template <class V>
FLR_ALWAYS_INLINE V splat(scalar_of<V> x) {
  return x - V{};
}
/// 0, 1, 2, …
template <class V>
FLR_ALWAYS_INLINE V iota() {
  V v;
  for (int i = 0; i < lanes_of<V>; ++i) v[i] = static_cast<scalar_of<V>>(i);
  return v;
}

/// a · b + c, in one rounding where the processor can. Spelled out because -std=c++20 turns the
/// compiler's own contraction off in some versions.
template <class V>
FLR_ALWAYS_INLINE V fma(V a, std::type_identity_t<V> b, std::type_identity_t<V> c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(scalar_of<V>) == 4) return (V)_mm512_fmadd_ps(a, b, c);
  if constexpr (sizeof(V) == 64 && sizeof(scalar_of<V>) == 8) return (V)_mm512_fmadd_pd(a, b, c);
#endif
#if defined(__FMA__)
  if constexpr (sizeof(V) == 32 && sizeof(scalar_of<V>) == 4) return (V)_mm256_fmadd_ps(a, b, c);
  if constexpr (sizeof(V) == 32 && sizeof(scalar_of<V>) == 8) return (V)_mm256_fmadd_pd(a, b, c);
  if constexpr (sizeof(V) == 16 && sizeof(scalar_of<V>) == 4) return (V)_mm_fmadd_ps(a, b, c);
  if constexpr (sizeof(V) == 16 && sizeof(scalar_of<V>) == 8) return (V)_mm_fmadd_pd(a, b, c);
#endif
  return a * b + c;
}

/// The larger and the smaller value; b where either is NaN.
template <class V>
FLR_ALWAYS_INLINE V max(V a, std::type_identity_t<V> b) {
  return a > b ? a : b;
}
template <class V>
FLR_ALWAYS_INLINE V min(V a, std::type_identity_t<V> b) {
  return a < b ? a : b;
}
template <class V>
FLR_ALWAYS_INLINE V abs(V x) {
  return (V)((bits_of<V>)x & ~(bits_of<V>)splat<V>(-scalar_of<V>(0)));
}
/// x with the sign of s, for x ≥ 0.
template <class V>
FLR_ALWAYS_INLINE V with_sign(V x, std::type_identity_t<V> s) {
  return (V)((bits_of<V>)x | ((bits_of<V>)s & (bits_of<V>)splat<V>(-scalar_of<V>(0))));
}
/// x where the mask holds, 0 elsewhere.
template <class V>
FLR_ALWAYS_INLINE V keep_where(mask_of<V> mask, V x) {
  return (V)(mask & (mask_of<V>)x);
}

template <class V>
FLR_ALWAYS_INLINE V sqrt(V x) {
  constexpr bool single = sizeof(scalar_of<V>) == 4;
#if defined(__AVX512F__)  // the masked form: g++ 12 warns of the plain one
  if constexpr (sizeof(V) == 64 && single) return (V)_mm512_maskz_sqrt_ps(0xffff, x);
  if constexpr (sizeof(V) == 64 && !single) return (V)_mm512_maskz_sqrt_pd(0xff, x);
#endif
#if defined(__AVX__)
  if constexpr (sizeof(V) == 32 && single) return (V)_mm256_sqrt_ps(x);
  if constexpr (sizeof(V) == 32 && !single) return (V)_mm256_sqrt_pd(x);
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(V) == 16 && single) return (V)_mm_sqrt_ps(x);
  if constexpr (sizeof(V) == 16 && !single) return (V)_mm_sqrt_pd(x);
#endif
  V y;
  for (int i = 0; i < lanes_of<V>; ++i)
    y[i] = single ? __builtin_sqrtf(x[i]) : __builtin_sqrt(x[i]);
  return y;
}

/// Sum and maximum over the lanes, always in the same order: halves folded onto each other.
template <class V>
FLR_ALWAYS_INLINE scalar_of<V> sum(V v) {
  if constexpr (lanes_of<V> == 1) {
    return v[0];
  } else {
    using Half = Vec<scalar_of<V>, lanes_of<V> / 2>;
    Half half[2];
    std::memcpy(half, &v, sizeof v);
    return sum<Half>(half[0] + half[1]);
  }
}
template <class V>
FLR_ALWAYS_INLINE scalar_of<V> max_lane(V v) {
  scalar_of<V> m = v[0];
  for (int i = 1; i < lanes_of<V>; ++i) m = v[i] > m ? v[i] : m;
  return m;
}
/// Whether the mask holds in any lane.
template <class M>
FLR_ALWAYS_INLINE bool any(M mask) {
  std::uint64_t words[sizeof mask / 8], all = 0;
  std::memcpy(words, &mask, sizeof mask);
  for (std::uint64_t word : words) all |= word;
  return all != 0;
}

}  // namespace simd
FLR_CPU_END
