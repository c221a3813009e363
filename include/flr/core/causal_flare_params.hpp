// What causal FLARE asks of a backend (ops/causal_flare.hpp).
#pragma once

#include "flr/core/params.hpp"

namespace flr {

/// y_t = Σ_m p_tm z_tm with p_t = softmax over m of s_t, s_tm = scale · k_t·q_m, and
/// z_tm = Σ_{τ≤t} κ_τ exp(s_τm − L_tm) v_τ, L_tm = log Σ_{τ≤t} κ_τ exp(s_τm); κ_τ whether τ is
/// kept. q [B,H,M,E] latents (a stride of 0 broadcasts), k [B,H,N,E], v, y [B,H,N,D], their last
/// axes contiguous. Tokens before the first that is kept give zeros.
template <class T>
struct CausalFlareParams {
  index_t B = 0, H = 0, M = 0, N = 0, E = 0, D = 0;
  compute_t<T> scale = 1;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  HeadStrides qs, ks, vs;
  const std::uint8_t* keep = nullptr;  ///< [B or 1, N]; keep_batch is its batch stride
  index_t keep_batch = 0;
  T* y = nullptr;
  HeadStrides ys;
  /// L [B,H,M] and z [B,H,M,D] of the tokens before these and after them; null: none, not wanted.
  const compute_t<T>*lse_in = nullptr, *z_in = nullptr;
  compute_t<T>*lse_out = nullptr, *z_out = nullptr;
};

/// Gradients of CausalFlareParams for tokens that follow no others; `f` repeats the forward call
/// (its y is not read). dq is summed over the batch where its batch stride is 0.
template <class T>
struct CausalFlareBackwardParams : HeadGradients<T> {
  CausalFlareParams<T> f;
};

}  // namespace flr
