// Dropout. Element i is dropped when word i mod 4 of Philox block ⌊i/4⌋ is below p · 2³², so that
// the mask is the same for every scalar type and in backward.
#pragma once

#include "flr/cpu/convert.hpp"
#include "flr/cpu/philox_words.hpp"

FLR_CPU_BEGIN

template <class T>
void dropout(const DropoutParams<T>& p) {
  using C = compute_t<T>;
  const auto threshold = static_cast<std::uint32_t>(p.p * 4294967296.0);
  const C scale = static_cast<C>(1 / (1 - p.p));
  constexpr index_t group = philox_words;
  parallel_ranges(ceil_div(p.n, group), chunk_elements / group, [&](index_t begin, index_t end) {
    for (index_t g = begin; g < end; ++g) {
      std::uint32_t words[group];
      C y[group];
      draw_words(p.seed, p.step, p.call, static_cast<std::uint64_t>(g * philox_blocks), words);
      const T* x = p.x + g * group;
      const index_t n = smaller(group, p.n - g * group);
      for (index_t i = 0; i < n; ++i) {
        const C kept = scale * static_cast<C>(x[i]);  // read in any case: no branch
        y[i] = words[i] < threshold ? C(0) : kept;
      }
      store_run(y, p.y + g * group, n, p.accumulate);
    }
  });
}

FLR_CPU_END
