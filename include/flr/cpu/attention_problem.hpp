// What the forward and backward kernels of attention read from a call: heads, visibility, biases.
#pragma once

#include <algorithm>

#include "flr/cpu/attention_state.hpp"

FLR_CPU_BEGIN
namespace attention {

/// As many tasks as many threads can share evenly.
inline constexpr index_t enough_tasks = 64;

inline index_t ceil_div(index_t a, index_t b) {
  return (a + b - 1) / b;
}
inline index_t round_up(index_t a, index_t b) {
  return ceil_div(a, b) * b;
}

/// Row 0 of head (b, h).
template <class T>
FLR_ALWAYS_INLINE T* head(T* x, const HeadStrides& s, index_t b, index_t h) {
  return x + b * s.batch + h * s.head;
}

/// Rows without gaps: the rows themselves where they have none, a copy in `to` otherwise. Heads
/// that interleave in memory would crowd a few sets of the first-level cache.
template <class T>
FLR_ALWAYS_INLINE const T* pack_rows(const T* x, index_t row, index_t n, index_t width, T* to) {
  if (row == width) return x;
  for (index_t r = 0; r < n; ++r) {  // by fours: rows are too short for a call each
    index_t d = 0;
    for (; d + 4 <= width; d += 4) std::memcpy(to + r * width + d, x + r * row + d, 4 * sizeof(T));
    for (; d < width; ++d) to[r * width + d] = x[r * row + d];
  }
  return to;
}

/// How many keys, from the first on, query i may see (before the keep mask).
template <class T>
FLR_ALWAYS_INLINE index_t visible_keys(const SdpaParams<T>& p, index_t i) {
  return p.causal ? std::clamp<index_t>(i + p.Nk - p.Nq + 1, 0, p.Nk) : p.Nk;
}

/// Scores are kept in units of log 2, so that weights are powers of two.
template <class T>
FLR_ALWAYS_INLINE T score_scale(const SdpaParams<T>& p) {
  return p.scale * log2_e<T>;
}

/// bias(b, h, i, j) for one (b, h).
template <class T>
struct HeadBias {
  const T* data;
  index_t row, column;
  HeadBias(const SdpaParams<T>& p, index_t b, index_t h)
      : data(p.bias ? head(p.bias, p.bias_s, b, h) : nullptr),
        row(p.bias_s.row),
        column(p.bias_col) {}
  FLR_ALWAYS_INLINE T operator()(index_t i, index_t j) const { return data[i * row + j * column]; }
};

}  // namespace attention
FLR_CPU_END
