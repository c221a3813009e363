// Many Philox blocks at a time, in an order that the vectoriser can follow, and what is drawn from
// their words.
#pragma once

#include "flr/core/philox.hpp"
#include "flr/cpu/simd_storage.hpp"
#include "flr/cpu/vector_math.hpp"

FLR_CPU_BEGIN

/// 64-bit lanes, of which Philox uses the lower halves.
using PhiloxLanes = std::uint64_t __attribute__((vector_size(simd::vector_bytes)));

/// The 64-bit product of the lower halves with a 32-bit constant.
FLR_ALWAYS_INLINE PhiloxLanes multiply_low(PhiloxLanes a, std::uint64_t m) {
#if defined(__AVX512F__)
  // Masked for the reason given in simd_storage.hpp.
  return (PhiloxLanes)_mm512_maskz_mul_epu32(0xFF, (__m512i)a,
                                             _mm512_set1_epi64(static_cast<long long>(m)));
#elif defined(__AVX2__)
  return (PhiloxLanes)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(static_cast<long long>(m)));
#elif defined(__SSE2__) && !defined(__AVX__)
  return (PhiloxLanes)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(static_cast<long long>(m)));
#else
  return (a & 0xFFFFFFFF) * m;
#endif
}

/// Blocks that are made at a time, and their words.
inline constexpr int philox_blocks = 16, philox_words = 4 * philox_blocks;

/// Words of blocks first … first + 15 of the stream (seed, step, call): what stream_block gives.
inline void draw_words(std::uint64_t seed, std::uint64_t step, std::uint64_t call,
                       std::uint64_t first, std::uint32_t (&words)[philox_words]) {
  constexpr int lanes = simd::vector_bytes / 8, vectors = philox_blocks / lanes;
  PhiloxLanes c[vectors][4];
  for (int v = 0; v < vectors; ++v)
    for (int l = 0; l < lanes; ++l) {
      const std::uint64_t number = first + static_cast<std::uint64_t>(v * lanes + l);
      c[v][0][l] = number;
      c[v][1][l] = call ^ (number >> 32 << 20);
      c[v][2][l] = step;
      c[v][3][l] = step >> 32;
    }
  std::uint64_t k0 = seed, k1 = seed >> 32;
  for (int round = 0; round < 10; ++round) {
    for (auto& s : c) {
      const PhiloxLanes a = multiply_low(s[0], 0xD2511F53), b = multiply_low(s[2], 0xCD9E8D57);
      s[0] = (b >> 32) ^ s[1] ^ k0;
      s[2] = (a >> 32) ^ s[3] ^ k1;
      s[1] = b;
      s[3] = a;
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int v = 0; v < vectors; ++v) {
    std::uint64_t lane[4][lanes];
    __builtin_memcpy(lane, c[v], sizeof lane);
    for (int l = 0; l < lanes; ++l)
      for (int w = 0; w < 4; ++w)
        words[4 * (v * lanes + l) + w] = static_cast<std::uint32_t>(lane[w][l]);
  }
}

/// Uniforms in [0, 1): one float a word, one double a pair of words.
inline void uniforms(const std::uint32_t (&words)[philox_words], float* u) {
  for (int i = 0; i < philox_words; ++i)
    u[i] = static_cast<float>(static_cast<std::int32_t>(words[i] >> 8)) * 0x1p-24f;
}
inline void uniforms(const std::uint32_t (&words)[philox_words], double* u) {
  for (int i = 0; i < philox_words / 2; ++i) u[i] = uniform_double(words[2 * i], words[2 * i + 1]);
}

/// cos and sin of 2πv for v in [0, 1): v is brought into [−⅛, ⅛] without rounding, where the Taylor
/// series end at the last bit.
template <class C>
FLR_ALWAYS_INLINE void cos_sin_turns(simd::Vec<C> v, simd::Vec<C>& cosine, simd::Vec<C>& sine) {
  using V = simd::Vec<C>;
  using M = simd::Mask<C>;
  constexpr int terms = sizeof(C) == 4 ? 5 : 9;
  const M quarter = __builtin_convertvector(v * C(4) + C(0.5), M);
  const V x = (v - __builtin_convertvector(quarter, V) * C(0.25)) * C(6.28318530717958647692);
  const V z = -x * x;
  V s = simd::splat(C(1)), c = simd::splat(C(1));
  for (int n = terms; n >= 1; --n) {
    s = C(1) + s * z * (C(1) / C(2 * n * (2 * n + 1)));
    c = C(1) + c * z * (C(1) / C((2 * n - 1) * 2 * n));
  }
  s *= x;
  const M odd = -(quarter & 1);  // sine and cosine change places
  const V a = simd::select<C>(odd, s, c), b = simd::select<C>(odd, c, s);
  cosine = simd::select<C>(-(((quarter + 1) >> 1) & 1), -a, a);
  sine = simd::select<C>(-((quarter >> 1) & 1), -b, b);
}

/// Standard normals in place of n uniforms, pair (2j, 2j + 1) from pair, by Box and Muller. n is a
/// multiple of two vectors.
template <class C>
inline void normals(C* u, int n) {
  constexpr int L = simd::lanes<C>;
  for (int i = 0; i < n; i += 2 * L) {
    C even[L], odd[L];
    for (int j = 0; j < L; ++j) even[j] = u[i + 2 * j], odd[j] = u[i + 2 * j + 1];
    // 1 − u is exact and never 0.
    const simd::Vec<C> radius = simd::sqrt(C(-2) * simd::log<C>(C(1) - simd::load<C>(even)));
    simd::Vec<C> cosine, sine;
    cos_sin_turns<C>(simd::load<C>(odd), cosine, sine);
    simd::store<C>(even, radius * cosine);
    simd::store<C>(odd, radius * sine);
    for (int j = 0; j < L; ++j) u[i + 2 * j] = even[j], u[i + 2 * j + 1] = odd[j];
  }
}

FLR_CPU_END
