// A tile's scores, its ranges and their features (problem.hpp), by one block.
#pragma once

#include "causal_flare/problem.hpp"
#include "causal_linear/tiles.cuh"

namespace flr::cuda::latents {

using causal::across;
using causal::along;
using causal::kept;
using causal::pitch;
using causal::Place;
using causal::Sums;
using causal::to_lower_triangle;
using causal::to_tile;

/// From one token's scores to the next one's: odd, so that threads may have a token each.
constexpr int row_of_scores(int M) {
  return M + 1;
}

/// A block's dynamic shared memory. The square takes the place of the keys, which are used up by
/// then.
template <class T, int M, int W>
struct Memory {
  static constexpr int of_scores = tile * row_of_scores(M) * int(sizeof(float) / sizeof(T));
  static constexpr int of_tokens = tile * pitch<T>(W), of_features = tile * pitch<T>(M);
  static constexpr int of_square = tile * pitch<T>(tile);
  static constexpr int of_keys = of_tokens > of_square ? of_tokens : of_square;
  float* s;                   ///< [tile][M], from one row to the next row_of_scores
  T *q, *k, *v, *b;           ///< [M][W], [tile][W] twice, [tile][M]
  T *square, *a, *state, *g;  ///< [tile][tile], [tile][M], [W][M], [tile][W]

  __device__ explicit Memory(void* from) {
    s = static_cast<float*>(from);
    q = static_cast<T*>(from) + of_scores;
    k = square = q + M * pitch<T>(W);
    v = k + of_keys;
    b = v + of_tokens;
    a = b + of_features;
    state = a + of_features;
    g = state + W * pitch<T>(M);
  }
  enum Extent { keys, queries, gradients };
  static constexpr int bytes(Extent extent) {
    int values = of_scores + M * pitch<T>(W) + of_keys + of_tokens + of_features;
    if (extent != keys) values += of_features + W * pitch<T>(M);
    if (extent == gradients) values += of_tokens;
    return values * int(sizeof(T));
  }
};

/// What all threads see of the latents and of the tile's tokens.
template <int M>
struct Marks {
  float start[M];                ///< L before the range
  float decay[M];                ///< 2^(L before − L after)
  float read[tile], kept[tile];  ///< log2 Σ_m 2^s of a token; 1 or 0
  float top[threads], sum[threads];
  int agree[threads / 32];
};
/// Bytes that a block has of it, and a little more.
constexpr int bytes_of_marks = 4096;

/// Blocks that a multiprocessor is to have at once, as far as shared memory allows it.
constexpr int blocks_at_once(int M, int W) {
  return M == 128 || W == 64 ? 2 : M == 64 ? 3 : 4;
}

/// A thread has one latent and `length` neighbouring tokens.
template <int M>
struct Part {
  static constexpr int groups = threads / M, length = tile / groups;
  int m = int(threadIdx.x) % M, group = int(threadIdx.x) / M, first = group * length;
};

/// Tokens from … to−1 of a tile; for this thread's latent L after them, and what has been gathered
/// before this thread's part of them, relative to that.
struct Range {
  int from, to;
  float ref, before;
};

__device__ inline float log2_add(float x, float y) {
  const float top = fmaxf(x, y);
  return top + log2f(exp2_fast(x - top) + exp2_fast(y - top));
}

template <int W, int M, class T>
__device__ void load_latents(T* to, const Problem<T>& p, const Place& at) {
  causal::load_tile<W, M>(
      to, at.of(p.q), p.q.s.row, 0, p.M, p.E, p.q_packed, [](float x, index_t) { return x; },
      [](index_t, int) { return 0.0f; });
}
template <int W, class T>
__device__ void load_tokens(T* to, const Heads<const T>& x, const Place& at, index_t first,
                            int columns, bool packed) {
  causal::load_tile<W>(
      to, at.of(x), x.s.row, first, at.end, columns, packed, [](float x, index_t) { return x; },
      [](index_t, int) { return 0.0f; });
}
template <int M, class T>
__device__ void mark_kept(Marks<M>& marks, const Problem<T>& p, const Place& at, index_t first) {
  for (int t = threadIdx.x; t < tile; t += threads)
    marks.kept[t] = first + t < at.end ? kept(p, at, first + t) : 0.0f;
}

/// Scores of the tile, 0 for latents that are only there as padding.
template <class T, int M, int W>
__device__ void make_scores(const Memory<T, M, W>& at, float log2_scale) {
  Sums<T, tile, M> products;
  products.template add<W>(along(at.k, W), along(at.q, W));
  products.each([&](int t, int m, float& x) { at.s[t * row_of_scores(M) + m] = x * log2_scale; });
}

/// What every token divides its weights of the latents by; two threads a token.
template <int M>
__device__ void sum_over_latents(Marks<M>& marks, const float* s, int latents) {
  const int t = int(threadIdx.x) / 2, half = int(threadIdx.x) % 2;
  const float* row = s + t * row_of_scores(M);
  float top = log_zero, sum = 0;
  for (int m = half; m < latents; m += 2) top = fmaxf(top, row[m]);
  top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
  for (int m = half; m < latents; m += 2) sum += exp2_fast(row[m] - top);
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  if (half == 0) marks.read[t] = top + log2f(sum);
}

/// L after tokens from … to−1, from marks.start on.
template <int M>
__device__ Range make_range(Marks<M>& marks, const float* s, int from, int to, int latents) {
  const Part<M> part;
  const auto counts = [&](int t) {
    return part.m < latents && t >= from && t < to && marks.kept[t] > 0;
  };
  float top = log_zero, sum = 0;
#pragma unroll 8
  for (int i = 0; i < part.length; ++i) {
    const int t = part.first + i;
    top = fmaxf(top, counts(t) ? s[t * row_of_scores(M) + part.m] : log_zero);
  }
#pragma unroll 8
  for (int i = 0; i < part.length; ++i) {
    const int t = part.first + i;
    sum += counts(t) ? exp2_fast(s[t * row_of_scores(M) + part.m] - top) : 0.0f;
  }
  __syncthreads();  // what marks held is used up, and its start is there
  marks.top[threadIdx.x] = top, marks.sum[threadIdx.x] = sum;
  __syncthreads();
  const float start = marks.start[part.m];
  top = start;
#pragma unroll
  for (int g = 0; g < part.groups; ++g) top = fmaxf(top, marks.top[g * M + part.m]);
  sum = exp2_fast(start - top);
  float before = sum;
#pragma unroll
  for (int g = 0; g < part.groups; ++g) {
    sum += marks.sum[g * M + part.m] * exp2_fast(marks.top[g * M + part.m] - top);
    if (g + 1 == part.group) before = sum;
  }
  const float more = log2f(sum);
  return {from, to, top + more, before / sum};
}

/// Whether all threads of the block say so.
template <int M>
__device__ bool all_agree(Marks<M>& marks, bool x) {
  x = __all_sync(0xffffffffu, x);
  if (threadIdx.x % 32 == 0) marks.agree[threadIdx.x / 32] = x;
  __syncthreads();
  bool all = true;
#pragma unroll
  for (int w = 0; w < threads / 32; ++w) all = all && marks.agree[w];
  return all;
}

/// The range that begins at `from`: the rest of the tile, or half of what is too much.
template <int M>
__device__ Range fit_range(Marks<M>& marks, const float* s, int from, int latents) {
  const int m = Part<M>{}.m;
  for (int to = tile;; to = from + (to - from) / 2) {
    const Range range = make_range(marks, s, from, to, latents);
    float first = marks.start[m];
    if (marks.kept[from] > 0) first = log2_add(first, s[from * row_of_scores(M) + m]);
    const bool fits = m >= latents || range.ref - first <= most_growth;
    if (all_agree(marks, fits) || to == from + 1) return range;
  }
}

/// Features of a range's tokens and zeros for the others, and 2^(L − ref) in place of its scores.
/// Afterwards the start is that of the next range.
template <bool Queries, class T, int M, int W>
__device__ void make_features(Marks<M>& marks, const Memory<T, M, W>& at, const Range& range,
                              int latents) {
  const Part<M> part;
  float sum = range.before;
#pragma unroll 4
  for (int i = 0; i < part.length; ++i) {
    const int t = part.first + i, place = t * pitch<T>(M) + part.m;
    const bool inside = part.m < latents && t >= range.from && t < range.to;
    float* score = at.s + t * row_of_scores(M) + part.m;
    const float key = inside && marks.kept[t] > 0 ? exp2_fast(*score - range.ref) : 0.0f;
    at.b[place] = from_compute<T>(key);
    if constexpr (Queries) {
      sum += key;
      const float p = exp2_fast(*score - marks.read[t]);
      at.a[place] = from_compute<T>(inside ? divide_fast(p, sum) : 0.0f);
      if (inside) *score = sum;
    }
  }
  if (part.group == 0) {
    marks.decay[part.m] = exp2_fast(marks.start[part.m] - range.ref);
    marks.start[part.m] = range.ref;
  }
}

/// The state, transposed, in global memory.
template <class T, int M, int W>
__device__ void load_state(Sums<T, W, M>& sums, const float* from) {
  sums.each([&](int d, int m, float& x) { x = from[d * M + m]; });
}
template <class T, int M, int W>
__device__ void save_state(Sums<T, W, M>& sums, float* to) {
  sums.each([&](int d, int m, float& x) { to[d * M + m] = x; });
}
/// L and Z that a segment starts from.
template <class T, int M, int W>
__device__ void begin_segment(Marks<M>& marks, Sums<T, W, M>& z, const States& states,
                              const Place& at, index_t segments) {
  if (states.z) load_state<T, M, W>(z, states.z + at.item * (W * M));
  const index_t line = at.item / segments * (segments + 1) + at.item % segments;
  for (int m = threadIdx.x; m < M; m += threads)
    marks.start[m] = states.lse ? states.lse[line * M + m] : log_zero;
}
template <class T, int M, int W>
__device__ void decay_state(Sums<T, W, M>& z, const Marks<M>& marks) {
  z.each([&](int, int m, float& x) { x *= marks.decay[m]; });
}

}  // namespace flr::cuda::latents
