// What a head adds to its scores and which of them it hides.
#pragma once

#include "layout.cuh"

namespace flr::cuda::attention {

/// Scores are in units of log 2.
template <class T>
struct Mask {
  using C = compute_t<T>;
  const T* bias;
  index_t bias_row, bias_col;
  const std::uint8_t* keep;
  index_t shift, Nq, Nk;
  bool causal;

  __device__ Mask(const SdpaParams<T>& p, index_t unit)
      : bias(p.bias ? head(p.bias, p.bias_s, unit, p.H) : nullptr),
        bias_row(p.bias_s.row),
        bias_col(p.bias_col),
        keep(p.keep ? p.keep + unit / p.H * p.keep_batch : nullptr),
        shift(p.Nk - p.Nq),
        Nq(p.Nq),
        Nk(p.Nk),
        causal(p.causal) {}

  /// How many keys, from the first on, query i may see (before the keep mask).
  __device__ index_t visible(index_t i) const {
    if (!causal) return Nk;
    const index_t n = i + shift + 1;
    return n < 0 ? 0 : n < Nk ? n : Nk;
  }
  /// The first query that may see key j.
  __device__ index_t first_query(index_t j) const { return causal && j > shift ? j - shift : 0; }
  /// The score of query i and key j; −∞ where it is hidden or does not exist.
  __device__ C operator()(C score, index_t i, index_t j) const {
    if (i >= Nq || j >= visible(i) || (keep && !keep[j])) return minus_infinity<C>();
    return bias ? score + to_compute(bias[i * bias_row + j * bias_col]) * log2_e<C> : score;
  }
};

}  // namespace flr::cuda::attention
