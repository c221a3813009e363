// Philox4x32-10: a counter-based generator. One block of four words is a pure function of a counter
// and a key, so any draw can be made again, in any order and on any thread.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace flr {

struct Philox4x32 {
  static constexpr std::array<std::uint32_t, 4> block(std::array<std::uint32_t, 4> counter,
                                                      std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
      const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
      counter = {
          static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
          static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
      key[0] += 0x9E3779B9;  // the golden ratio and √3 − 1, as fractions of 2³²
      key[1] += 0xBB67AE85;
    }
    return counter;
  }

  /// The same, with the counter's and the key's words taken from 64-bit numbers, low word first.
  static constexpr std::array<std::uint32_t, 4> block(std::uint64_t counter_low,
                                                      std::uint64_t counter_high,
                                                      std::uint64_t key) {
    return block(
        {static_cast<std::uint32_t>(counter_low), static_cast<std::uint32_t>(counter_low >> 32),
         static_cast<std::uint32_t>(counter_high), static_cast<std::uint32_t>(counter_high >> 32)},
        {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
  }
};

/// Block `number` of the stream (seed, step, call), as every backend draws it. The key is the seed;
/// the counter's words are the block's low word, the call and the step. The high word of the block's
/// number, non-zero beyond 2³⁴ elements, is mixed into the upper bits of the call.
constexpr std::array<std::uint32_t, 4> stream_block(std::uint64_t seed, std::uint64_t step,
                                                    std::uint64_t call, std::uint64_t number) {
  return Philox4x32::block((number & 0xFFFFFFFF) | ((call ^ (number >> 32 << 20)) << 32), step, seed);
}

/// Uniform in [0, 1): a multiple of 2⁻²⁴ from one word.
constexpr float uniform_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

/// Uniform in [0, 1): a multiple of 2⁻⁵³ from two words.
constexpr double uniform_double(std::uint32_t high, std::uint32_t low) {
  return (static_cast<double>(high >> 5) * 0x1p26 + static_cast<double>(low >> 6)) * 0x1p-53;
}

/// Two independent standard normals from two uniforms in [0, 1), by Box and Muller.
template <class T>
std::array<T, 2> normal_pair(T u, T v) {
  const T radius = std::sqrt(T{-2} * std::log1p(-u));  // 1 − u is never 0
  const T angle = T{2} * std::numbers::pi_v<T> * v;
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace flr
