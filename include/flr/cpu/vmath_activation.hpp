// Activations on vectors, with their derivatives.
#pragma once

#include "flr/cpu/vmath_erf.hpp"

FLR_CPU_BEGIN
namespace simd {

/// A function's value and its derivative at the same point.
template <class V>
struct ValueAndDerivative {
  V value, derivative;
};

template <class V>
FLR_ALWAYS_INLINE V reciprocal(V x) {
  return 1 / x;
}

template <class V>
FLR_ALWAYS_INLINE V sigmoid(V x) {
  return 1 / (1 + exp_normal(-x));
}

/// x σ(x); derivative σ (1 + x (1 − σ)).
template <class V>
FLR_ALWAYS_INLINE V silu(V x) {
  return x / (1 + exp_normal(-x));
}
template <class V>
FLR_ALWAYS_INLINE ValueAndDerivative<V> silu_with_derivative(V x) {
  const V e = exp_normal(-x), s = 1 / (1 + e), y = x * s;
  return {y, fma(y, e * s, s)};  // e s is 1 − s without cancellation
}

/// log(1 + eˣ).
template <class V>
FLR_ALWAYS_INLINE V softplus(V x) {
  const V u = exp(-abs(x));
  return (x > 0 ? x : V{}) + log1p_positive(u) + (x == x ? V{} : x);
}

/// x Φ(x) with the normal distribution Φ; derivative Φ + x φ.
template <class V>
FLR_ALWAYS_INLINE ValueAndDerivative<V> gelu_with_derivative(V x) {
  using T = scalar_of<V>;
  const ErfPair<V> e = erf_and_gauss<V>(x * T(0.70710678118654752440));
  const V cdf = fma(e.erf, splat<V>(T(0.5)), splat<V>(T(0.5)));
  return {x * cdf, fma(x * T(0.39894228040143267794), e.gauss, cdf)};
}
template <class V>
FLR_ALWAYS_INLINE V gelu(V x) {
  return gelu_with_derivative(x).value;
}

/// x σ(2u), u = √(2/π) (x + 0.044715 x³): ½ x (1 + tanh u) in one exponential.
template <class V>
FLR_ALWAYS_INLINE V gelu_tanh(V x) {
  using T = scalar_of<V>;
  constexpr T a = T(2 * 0.79788456080286535588), b = T(2 * 0.79788456080286535588 * 0.044715);
  return x / (1 + exp_normal<V>(-x * fma(x * x, splat<V>(b), splat<V>(a))));
}
template <class V>
FLR_ALWAYS_INLINE ValueAndDerivative<V> gelu_tanh_with_derivative(V x) {
  using T = scalar_of<V>;
  constexpr T a = T(2 * 0.79788456080286535588), b = T(2 * 0.79788456080286535588 * 0.044715);
  const V z = x * x;
  const V e = exp_normal<V>(-x * fma(z, splat<V>(b), splat<V>(a))), s = 1 / (1 + e);
  const V y = x * s;
  return {y, fma(y * (e * s), fma(z, splat<V>(3 * b), splat<V>(a)), s)};
}

}  // namespace simd
FLR_CPU_END
