// Random numbers by Philox4x32-10: element i of a draw is a function of (seed, step, call, i) alone.
//   float, bf16: words i mod 4 of block ⌊i/4⌋;  double: words 2(i mod 2) and 2(i mod 2) + 1 of ⌊i/2⌋.
// Normals are made in pairs (2j, 2j + 1) from the pair's uniforms, by Box and Muller.
#pragma once

#include "flr/core/philox.hpp"
#include "flr/cpu/convert.hpp"

FLR_CPU_BEGIN

/// The uniforms that one block gives: four floats or two doubles.
inline void block_uniforms(const std::array<std::uint32_t, 4>& word, float (&u)[4]) {
  for (int j = 0; j < 4; ++j) u[j] = uniform_float(word[j]);
}
inline void block_uniforms(const std::array<std::uint32_t, 4>& word, double (&u)[2]) {
  for (int j = 0; j < 2; ++j) u[j] = uniform_double(word[2 * j], word[2 * j + 1]);
}

template <class T>
void random(const RandomParams<T>& p) {
  using C = compute_t<T>;
  constexpr index_t per_block = sizeof(C) == 4 ? 4 : 2;
  parallel_ranges(ceil_div(p.n, per_block), chunk_elements / 4, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      C u[per_block];
      block_uniforms(stream_block(p.seed, p.step, p.call, static_cast<std::uint64_t>(b)), u);
      if (p.kind == Distribution::normal)
        for (index_t j = 0; j < per_block; j += 2) {
          const auto pair = normal_pair(u[j], u[j + 1]);
          u[j] = pair[0], u[j + 1] = pair[1];
        }
      const index_t first = b * per_block, count = smaller(per_block, p.n - first);
      for (index_t j = 0; j < count; ++j) p.x[first + j] = static_cast<T>(u[j]);
    }
  });
}

FLR_CPU_END
