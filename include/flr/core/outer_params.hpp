// Parameters of the table's entries for sums of outer products (ops/outer_product.hpp).
#pragma once

#include "flr/core/params.hpp"

namespace flr {

/// The most operands that an outer product of token vectors has: three factors and what they weigh.
inline constexpr int max_outer_operands = 4;

/// Operands x_a [B,H,N,D] of sums of outer products, a = 0 … operands − 1: heads as in SdpaParams,
/// none shared.
template <class T>
struct OuterOperands {
  index_t B = 0, H = 0, N = 0, D = 0;
  int operands = 0;  ///< 2 … max_outer_operands
  const T* x[max_outer_operands] = {};
  HeadStrides xs[max_outer_operands];
};

/// Their state, summed over the tokens: S[b,h,i₀,i₁,…] = scale · Σ_n Π_a x_a[b,h,n,i_a], contiguous.
template <class T>
struct OuterStateParams : OuterOperands<T> {
  compute_t<T> scale = 1;
  T* state = nullptr;
  GradMode mode = GradMode::overwrite;
};

/// What tokens read from a state, for each axis a of it whose mode is not ignore:
///   y_a[b,h,n,i_a] = scale · Σ over all i_c, c ≠ a, of S[b,h,i₀,i₁,…] Π_{c≠a} x_c[b,h,n,i_c].
/// An operand that only its own axis needs may be null.
template <class T>
struct OuterReadParams : OuterOperands<T> {
  compute_t<T> scale = 1;
  const T* state = nullptr;
  T* y[max_outer_operands] = {};
  HeadStrides ys[max_outer_operands];
  GradMode mode[max_outer_operands] = {};
};

}  // namespace flr
