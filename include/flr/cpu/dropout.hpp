// Dropout. Element i is dropped when word i mod 4 of Philox block ⌊i/4⌋ is below p · 2³², so that
// the mask is the same for every scalar type and in backward.
#pragma once

#include "flr/core/philox.hpp"
#include "flr/cpu/convert.hpp"

FLR_CPU_BEGIN

template <class T>
void dropout(const DropoutParams<T>& p) {
  using C = compute_t<T>;
  const auto threshold = static_cast<std::uint64_t>(p.p * 4294967296.0);
  const C scale = static_cast<C>(1 / (1 - p.p));
  parallel_ranges(ceil_div(p.n, 4), chunk_elements / 4, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      const auto word = stream_block(p.seed, p.step, p.call, static_cast<std::uint64_t>(b));
      const index_t count = smaller(4, p.n - 4 * b);
      for (index_t j = 0; j < count; ++j) {
        const index_t i = 4 * b + j;
        C y = word[j] < threshold ? C(0) : scale * static_cast<C>(p.x[i]);
        if (p.accumulate) y += static_cast<C>(p.y[i]);
        p.y[i] = static_cast<T>(y);
      }
    }
  });
}

FLR_CPU_END
