// What causal linear attention asks of a backend (ops/causal_linear.hpp).
#pragma once

#include "flr/core/feature.hpp"
#include "flr/core/params.hpp"

namespace flr {

/// Causal linear attention, with φ the feature map and κ_j whether key j is kept:
///   o_i = Σ_{j≤i} κ_j (φ(q_i)·φ(k_j)) v_j,   y_i = scale · o_i,
/// or with `normalize` y_i = o_i / d_i, d_i = Σ_{j≤i} κ_j φ(q_i)·φ(k_j) + epsilon.
/// q, k [B,H,N,E], v, y [B,H,N,D], their last axes contiguous; d [B,H,N], written where given.
template <class T>
struct CausalLinearParams {
  index_t B = 0, H = 0, N = 0, E = 0, D = 0;
  bool normalize = false;
  compute_t<T> scale = 1, epsilon = 0;
  Feature feature = Feature::identity;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  HeadStrides qs, ks, vs;
  const std::uint8_t* keep = nullptr;  ///< [B or 1, N]; keep_batch is its batch stride
  index_t keep_batch = 0;
  T* y = nullptr;
  HeadStrides ys;
  compute_t<T>* d = nullptr;
};

/// Gradients of CausalLinearParams; `f` repeats the forward call, with y and d filled in.
template <class T>
struct CausalLinearBackwardParams : HeadGradients<T> {
  CausalLinearParams<T> f;
};

}  // namespace flr
