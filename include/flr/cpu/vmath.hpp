// Elementary functions and activations on arrays: y[i] = f(x[i]), y may be x. An element's bits do
// not depend on its position or on n: the last, partial vector goes through the same instructions.
//
//   vexp vexpm1 vlog vtanh verf vsqrt vreciprocal
//   vsigmoid vsilu vsoftplus vgelu vgelu_tanh
//   vsilu_derivative vgelu_derivative vgelu_tanh_derivative            (x, y, n)
//   vsilu_with_derivative vgelu_with_derivative vgelu_tanh_with_derivative  (x, y, dydx, n)
//
// The same functions on vectors, without the v, lie in namespace simd: one file each for exp and
// its kin, erf, and the activations.
#pragma once

#include "flr/cpu/vmath_activation.hpp"

FLR_CPU_BEGIN

/// y = f(x) for a function f of vectors.
template <class T, class F>
FLR_ALWAYS_INLINE void apply_vectors(const T* x, T* y, index_t n, F&& f) {
  using V = simd::Vector<T>;
  constexpr int width = simd::lanes<T>;
  index_t i = 0;
  for (; i + width <= n; i += width) simd::store<V>(y + i, f(simd::load<V>(x + i)));
  if (i < n) simd::store_part<V>(y + i, f(simd::load_part<V>(x + i, n - i)), n - i);
}

#define FLR_ARRAY_FORM(name)                                                 \
  template <class T>                                                         \
  void v##name(const T* x, T* y, index_t n) {                                \
    apply_vectors(x, y, n, [](simd::Vector<T> v) { return simd::name(v); }); \
  }
FLR_ARRAY_FORM(exp)
FLR_ARRAY_FORM(expm1)
FLR_ARRAY_FORM(log)
FLR_ARRAY_FORM(tanh)
FLR_ARRAY_FORM(erf)
FLR_ARRAY_FORM(sqrt)
FLR_ARRAY_FORM(reciprocal)
FLR_ARRAY_FORM(sigmoid)
FLR_ARRAY_FORM(silu)
FLR_ARRAY_FORM(softplus)
FLR_ARRAY_FORM(gelu)
FLR_ARRAY_FORM(gelu_tanh)
#undef FLR_ARRAY_FORM

#define FLR_ARRAY_FORM(name)                                                                     \
  template <class T>                                                                             \
  void v##name##_derivative(const T* x, T* y, index_t n) {                                       \
    apply_vectors(x, y, n,                                                                       \
                  [](simd::Vector<T> v) { return simd::name##_with_derivative(v).derivative; }); \
  }                                                                                              \
  template <class T>                                                                             \
  void v##name##_with_derivative(const T* x, T* y, T* dydx, index_t n) {                         \
    using V = simd::Vector<T>;                                                                   \
    constexpr int width = simd::lanes<T>;                                                        \
    index_t i = 0;                                                                               \
    for (; i + width <= n; i += width) {                                                         \
      const auto both = simd::name##_with_derivative(simd::load<V>(x + i));                      \
      simd::store<V>(y + i, both.value);                                                         \
      simd::store<V>(dydx + i, both.derivative);                                                 \
    }                                                                                            \
    if (i < n) {                                                                                 \
      const auto both = simd::name##_with_derivative(simd::load_part<V>(x + i, n - i));          \
      simd::store_part<V>(y + i, both.value, n - i);                                             \
      simd::store_part<V>(dydx + i, both.derivative, n - i);                                     \
    }                                                                                            \
  }
FLR_ARRAY_FORM(silu)
FLR_ARRAY_FORM(gelu)
FLR_ARRAY_FORM(gelu_tanh)
#undef FLR_ARRAY_FORM

FLR_CPU_END
