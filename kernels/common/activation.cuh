// The activations that fused entries apply: value and slope of one element, in float or double.
//
// `Fast` is for bf16 storage: the exponential and the quotient of the special-function unit, and a
// polynomial for the normal distribution (relative errors up to 1e-5, far below the rounding of the
// result). Otherwise a few ulp.
#pragma once

#include <type_traits>

#include "common/mma.cuh"
#include "flr/core/params.hpp"

namespace flr::cuda {

template <class C>
struct ValueSlope {
  C value, slope;
};

/// 1/(1 + eᵛ): the logistic function at −v, which loses nothing to cancellation on either side.
template <bool Fast, class C>
__device__ inline C logistic_of_minus(C v) {
  if constexpr (Fast)
    return divide_fast(1.0f, 1.0f + exp2_fast(v * 1.4426950408889634f));
  else
    return C(1) / (C(1) + exp(v));
}

template <Activation A, bool Fast, class C>
__device__ inline ValueSlope<C> activation(C x) {
  if constexpr (A == Activation::relu) {
    return {x < C(0) ? C(0) : x, x > C(0) ? C(1) : C(0)};  // NaN stays NaN
  } else if constexpr (A == Activation::gelu && Fast) {
    // Φ(−|x|) = e^(−x²/2) t P(t), t = 1 / (1 + 0.31|x|): a minimax fit with relative error 8·10⁻⁶.
    const C t = divide_fast(1.0f, fmaf(0.31f, fabsf(x), 1.0f));
    const C bell = exp2_fast(-0.72134752044448170f * x * x);
    C tail = fmaf(-0.072301837f, t, 0.175917711f);
    tail = fmaf(tail, t, 0.020497708f);
    tail = fmaf(tail, t, 0.131106684f);
    tail = fmaf(tail, t, 0.120965205f);
    tail = fmaf(tail, t, 0.123817475f) * t * bell;
    const C cdf = x > 0 ? 1.0f - tail : tail;
    return {x * cdf, fmaf(x * 0.39894228f, bell, cdf)};
  } else if constexpr (A == Activation::gelu) {
    const C cdf = C(0.5) * erfc(x * C(-0.70710678118654752440));
    return {x * cdf, cdf + x * C(0.39894228040143267794) * exp(C(-0.5) * x * x)};
  } else if constexpr (A == Activation::gelu_tanh) {
    // ½(1 + tanh u) is the logistic function of 2u.
    constexpr C k = C(2 * 0.79788456080286535588), k3 = C(2 * 0.79788456080286535588 * 0.044715);
    const C z = x * x, s = logistic_of_minus<Fast>(-x * (k + k3 * z)), y = x * s;
    // Where s is 0 the quadratic factor may be infinite.
    return {y, s > C(0) ? s + y * (C(1) - s) * (k + 3 * k3 * z) : s};
  } else if constexpr (A == Activation::silu) {
    const C s = logistic_of_minus<Fast>(-x), y = x * s;
    return {y, s + y * (C(1) - s)};
  } else if constexpr (A == Activation::tanh) {
    const C t = tanh(x);
    return {t, (C(1) - t) * (C(1) + t)};
  } else if constexpr (A == Activation::sigmoid) {
    const C s = logistic_of_minus<Fast>(-x);
    return {s, s * (C(1) - s)};
  } else {
    return {x, C(1)};
  }
}

/// body(std::integral_constant<Activation, A>) for the activation chosen at run time; on the host
/// or the device.
template <class Body>
__host__ __device__ inline void with_activation(Activation act, Body&& body) {
  using enum Activation;
  switch (act) {
    case relu: return body(std::integral_constant<Activation, relu>{});
    case gelu: return body(std::integral_constant<Activation, gelu>{});
    case gelu_tanh: return body(std::integral_constant<Activation, gelu_tanh>{});
    case silu: return body(std::integral_constant<Activation, silu>{});
    case tanh: return body(std::integral_constant<Activation, tanh>{});
    case sigmoid: return body(std::integral_constant<Activation, sigmoid>{});
    case identity: return body(std::integral_constant<Activation, identity>{});
  }
}

}  // namespace flr::cuda
