// What linear attention asks of a backend (ops/linear_attention.hpp).
#pragma once

#include "flr/core/feature.hpp"
#include "flr/core/params.hpp"

namespace flr {

/// Linear attention, every query seeing all keys that are kept (κ_j):
///   S = Σ_j κ_j φ(k_j) v_jᵀ,   z = Σ_j κ_j φ(k_j),   y_i = Sᵀφ(q_i) / (φ(q_i)·z + epsilon).
/// q, y [B,H,Nq,D], k, v [B,H,Nk,D], their last axes contiguous; state [B,H,D,D+1] receives [S|z].
template <class T>
struct LinearAttentionParams {
  index_t B = 0, H = 0, Nq = 0, Nk = 0, D = 0;
  Feature feature = Feature::identity;
  bool unit_q = false, unit_k = false;  ///< φ over its length, φ/(‖φ‖ + 10⁻⁶)
  compute_t<T> epsilon = 0;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  HeadStrides qs, ks, vs;
  const std::uint8_t* keep = nullptr;  ///< [B or 1, Nk]; keep_batch is its batch stride
  index_t keep_batch = 0;
  T* y = nullptr;
  HeadStrides ys;
  compute_t<T>* state = nullptr;
};

/// Gradients of LinearAttentionParams; `f` repeats the forward call, with `state` filled in (its y is
/// not read).
template <class T>
struct LinearAttentionBackwardParams : HeadGradients<T> {
  LinearAttentionParams<T> f;
};

}  // namespace flr
