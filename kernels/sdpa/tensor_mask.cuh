// Which scores of a step of keys are hidden, as bits: one bit a column, one word a row.
#pragma once

#include "mask.cuh"
#include "tensor_tile.cuh"

namespace flr::cuda::attention::tensor {

/// Words of hidden keys of two tiles, in shared memory; a tile has at most `threads` keys.
using HiddenKeys = u32[2][warps];

/// Barrier. Notes which of the n keys from `keep` on are hidden (none if it is null) and returns
/// how many they are.
__device__ inline int note_hidden(HiddenKeys& hidden, unsigned stage, const std::uint8_t* keep,
                                  int n) {
  const bool hides = keep && int(threadIdx.x) < n && !keep[threadIdx.x];
  if (keep) {
    const u32 word = __ballot_sync(0xffffffffu, hides);
    if (threadIdx.x % 32 == 0) hidden[stage][threadIdx.x / 32] = word;
  }
  return __syncthreads_count(hides);
}

/// Hides scores of 8·N ≤ 32 keys. `keys[r]` are the keys, counted from the first of these, that row
/// g + 8 r may see; `hidden` has a bit for each of them that nobody may see.
template <int N>
__device__ void hide_keys(float (&s)[N][4], const int (&keys)[2], u32 hidden) {
  const int t = int(threadIdx.x) % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const u32 beyond = keys[r] >= 32 ? 0 : keys[r] <= 0 ? ~0u : ~0u << keys[r];
    const u32 bits = (hidden | beyond) >> 2 * t;
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (bits >> (8 * n + e) & 1) s[n][2 * r + e] = -INFINITY;
  }
}

/// The same for Groups of sixteen rows from `first` on and keys from c on in the tile that begins
/// at key j.
template <class T, int Groups, int N>
__device__ void hide_keys(float (&s)[Groups][N][4], const Mask<T>& mask, index_t first, index_t j,
                          int c, const u32* hidden_words) {
  const u32 hidden = hidden_words ? hidden_words[c / 32] >> c % 32 : 0;
  const int g = int(threadIdx.x) % 32 / 4;
#pragma unroll
  for (int m = 0; m < Groups; ++m) {
    int keys[2];
#pragma unroll
    for (int r = 0; r < 2; ++r)
      keys[r] = in_tile(mask.visible(first + 16 * m + g + 8 * r) - j, threads) - c;
    hide_keys(s[m], keys, hidden);
  }
}

}  // namespace flr::cuda::attention::tensor
