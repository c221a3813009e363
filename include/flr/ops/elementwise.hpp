// Arithmetic, comparisons and named functions on tensors: each is a map of its own.
#pragma once

#include "flr/ops/map.hpp"

namespace flr {

#define FLR_UNARY(word)                      \
  template <Floating T>                      \
  Tensor<T> word(const Tensor<T>& x) {       \
    return map(formula::word(_1), x);        \
  }
FLR_UNARY(abs)
FLR_UNARY(sign)
FLR_UNARY(exp)
FLR_UNARY(log)
FLR_UNARY(sqrt)
FLR_UNARY(rsqrt)
FLR_UNARY(square)
FLR_UNARY(reciprocal)
FLR_UNARY(sin)
FLR_UNARY(cos)
FLR_UNARY(tanh)
FLR_UNARY(erf)
FLR_UNARY(sigmoid)
FLR_UNARY(relu)
FLR_UNARY(elu)
FLR_UNARY(softplus)
FLR_UNARY(silu)
FLR_UNARY(gelu)       ///< exact: x Φ(x)
FLR_UNARY(gelu_tanh)  ///< Hendrycks & Gimpel's tanh approximation
#undef FLR_UNARY

template <Floating T>
Tensor<T> operator-(const Tensor<T>& x) {
  return map(-_1, x);
}

// Tensors with tensors (broadcast) and with numbers; comparisons give 1 and 0 in the same type.
#define FLR_BINARY(name, op)                                                                  \
  template <Floating T>                                                                       \
  Tensor<T> name(const Tensor<T>& a, const Tensor<T>& b) {                                    \
    return map(formula::op(_1, _2), a, b);                                                    \
  }                                                                                           \
  template <Floating T>                                                                       \
  Tensor<T> name(const Tensor<T>& a, std::type_identity_t<compute_t<T>> b) {                  \
    return map(formula::op(_1, b), a);                                                        \
  }                                                                                           \
  template <Floating T>                                                                       \
  Tensor<T> name(std::type_identity_t<compute_t<T>> a, const Tensor<T>& b) {                  \
    return map(formula::op(a, _1), b);                                                        \
  }
FLR_BINARY(operator+, operator+)
FLR_BINARY(operator-, operator-)
FLR_BINARY(operator*, operator*)
FLR_BINARY(operator/, operator/)
FLR_BINARY(operator<, operator<)
FLR_BINARY(operator<=, operator<=)
FLR_BINARY(operator>, operator>)
FLR_BINARY(operator>=, operator>=)
FLR_BINARY(operator==, operator==)
FLR_BINARY(operator!=, operator!=)
FLR_BINARY(minimum, min)
FLR_BINARY(maximum, max)
FLR_BINARY(pow, pow)
#undef FLR_BINARY

/// condition ≠ 0 ? a : b, elementwise; the condition carries no gradient.
template <Floating T>
Tensor<T> where(const Tensor<T>& condition, const Tensor<T>& a, const Tensor<T>& b) {
  return map(formula::where(_1, _2, _3), condition, a, b);
}

/// x clipped to [low, high]; the gradient passes where x was inside.
template <Floating T>
Tensor<T> clamp(const Tensor<T>& x, std::type_identity_t<compute_t<T>> low,
                std::type_identity_t<compute_t<T>> high) {
  return map(formula::min(formula::max(_1, low), high), x);
}

}  // namespace flr
