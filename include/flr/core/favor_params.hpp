// What FAVOR+ features ask of a backend (ops/favor.hpp).
#pragma once

#include "flr/core/params.hpp"

namespace flr {

/// Features of tokens x [B,H,N,D], their last axis contiguous, for rows [H,R,D]: y [B,H,N,R], both
/// contiguous and in the type that x is computed in. With x̃ = factor · x,
///   e_r = ω_r·x̃ − ‖x̃‖²/2,   y_r = scale · exp(e_r − m) + offset,
/// where m is a token's own maximum over r, or with `shared_maximum` that of all kept tokens of a
/// head; hidden ones have e = −10³⁰ there.
template <class T>
struct FavorParams {
  index_t B = 0, H = 0, N = 0, D = 0, R = 0;
  compute_t<T> factor = 1, scale = 1, offset = 0;
  bool shared_maximum = false;
  const T* x = nullptr;
  HeadStrides xs;
  const compute_t<T>* rows = nullptr;
  const std::uint8_t* keep = nullptr;  ///< [B or 1, N]; keep_batch is its batch stride
  index_t keep_batch = 0;
  compute_t<T>* y = nullptr;
  compute_t<T>* maximum = nullptr;  ///< [B,H], written with shared_maximum
};

/// Gradients of FavorParams; `f` repeats the forward call, with the maximum filled in. dy is
/// contiguous. The maximum's own gradient goes in equal parts to the exponents that attain it.
template <class T>
struct FavorBackwardParams {
  FavorParams<T> f;
  const compute_t<T>* dy = nullptr;
  T* dx = nullptr;
  HeadStrides dxs;
  GradMode dx_mode = GradMode::ignore;
};

}  // namespace flr
