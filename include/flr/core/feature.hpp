// Feature maps that kernels of linear attention apply.
#pragma once

namespace flr {

/// Feature maps that act element by element and that linear attention's kernels apply on the way.
enum class Feature : unsigned char {
  identity,
  relu,          ///< max(x, 0)
  relu_squared,  ///< max(x, 0)²
  silu,          ///< x σ(x) + ½
  elu,           ///< elu(x) + 1
  sigmoid,
  tanh,
  softplus,  ///< log(1 + eˣ) + 1e-6
  softsign,  ///< x/(1 + |x|)
  exp,       ///< of x cut to ±30
  gelu,      ///< x Φ(x)
};

}  // namespace flr
