// Random numbers by Philox4x32-10: element i of a draw is a function of (seed, step, call, i)
// alone.
//   float, bf16: word i mod 4 of block ⌊i/4⌋;  double: words 2(i mod 2) and 2(i mod 2) + 1 of
//   ⌊i/2⌋.
// Normals are made in pairs (2j, 2j + 1) from the pair's uniforms, by Box and Muller.
#pragma once

#include "flr/cpu/convert.hpp"
#include "flr/cpu/philox_words.hpp"

FLR_CPU_BEGIN

template <class T>
void random(const RandomParams<T>& p) {
  using C = compute_t<T>;
  constexpr index_t group = sizeof(C) == 4 ? philox_words : philox_words / 2;
  parallel_ranges(ceil_div(p.n, group), chunk_elements / group, [&](index_t begin, index_t end) {
    for (index_t g = begin; g < end; ++g) {
      std::uint32_t words[philox_words];
      C u[group];
      draw_words(p.seed, p.step, p.call, static_cast<std::uint64_t>(g * philox_blocks), words);
      uniforms(words, u);
      if (p.kind == Distribution::normal) normals(u, static_cast<int>(group));
      convert_run(u, p.x + g * group, smaller(group, p.n - g * group));
    }
  });
}

FLR_CPU_END
