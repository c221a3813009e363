// What the performer's attention asks of a backend (ops/performer.hpp).
#pragma once

#include "flr/core/params.hpp"

namespace flr {

/// Linear attention with FAVOR+ features that are never stored. With x̃ = factor · x and rows ω
/// [H,R,D], contiguous,
///   φ(q_i)_r = scale · exp(ω_r·q̃_i − max_r ω_r·q̃_i) + offset,
///   φ(k_j)_r = κ_j (scale · exp(ω_r·k̃_j − ‖k̃_j‖²/2 − m) + offset),
///   m = max_jr (ω_r·k̃_j − ‖k̃_j‖²/2) over a head's kept keys,
///   y_i = Sᵀφ(q_i) / (φ(q_i)·z + epsilon),   S = Σ_j φ(k_j) v_jᵀ,   z = Σ_j φ(k_j).
/// q, y [B,H,Nq,D], k, v [B,H,Nk,D], their last axes contiguous. Receives, contiguous: state
/// [B,H,R,D+1], which is [S|z]; norms [B,H,Nk] = −log₂e ‖k̃‖²/2, −∞ for hidden keys; maximum [B,H]
/// = log₂e m; attained [B,H], j·R + r of an exponent that is the maximum, −1 where no key is kept.
template <class T>
struct PerformerParams {
  index_t B = 0, H = 0, Nq = 0, Nk = 0, D = 0, R = 0;
  compute_t<T> factor = 1, scale = 1, offset = 0, epsilon = 0;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  HeadStrides qs, ks, vs;
  const compute_t<T>* rows = nullptr;
  const std::uint8_t* keep = nullptr;  ///< [B or 1, Nk]; keep_batch is its batch stride
  index_t keep_batch = 0;
  T* y = nullptr;
  HeadStrides ys;
  compute_t<T>* state = nullptr;
  compute_t<T>*norms = nullptr, *maximum = nullptr;
  index_t* attained = nullptr;
};

/// Gradients of PerformerParams; `f` repeats the forward call, with what it received filled in (its y
/// is not read). The maximum's own gradient goes to the exponent that `attained` names.
template <class T>
struct PerformerBackwardParams : HeadGradients<T> {
  PerformerParams<T> f;
};

}  // namespace flr
