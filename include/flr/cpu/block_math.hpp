// The vocabulary of formulas (core/map_params.hpp) over blocks in the first-level cache.
#pragma once

#include <cmath>

#include "flr/core/map_params.hpp"
#include "flr/cpu/layout.hpp"

FLR_CPU_BEGIN

/// One word at x; the *_grad words are derivatives there.
template <Unary Op, class C>
FLR_ALWAYS_INLINE C word(C x) {
  constexpr C root_half = C(0.70710678118654752440);     // 1/√2
  constexpr C inverse_root = C(0.39894228040143267794);  // 1/√(2π)
  constexpr C k = C(0.79788456080286535588), k3 = C(0.044715);  // √(2/π): the tanh form of GELU
  if constexpr (Op == Unary::neg) return -x;
  if constexpr (Op == Unary::abs) return std::abs(x);
  if constexpr (Op == Unary::sign) return x > 0 ? C(1) : x < 0 ? C(-1) : x;
  if constexpr (Op == Unary::exp) return std::exp(x);
  if constexpr (Op == Unary::log) return std::log(x);
  if constexpr (Op == Unary::sqrt) return std::sqrt(x);
  if constexpr (Op == Unary::rsqrt) return 1 / std::sqrt(x);
  if constexpr (Op == Unary::square) return x * x;
  if constexpr (Op == Unary::reciprocal) return 1 / x;
  if constexpr (Op == Unary::sin) return std::sin(x);
  if constexpr (Op == Unary::cos) return std::cos(x);
  if constexpr (Op == Unary::tanh) return std::tanh(x);
  if constexpr (Op == Unary::erf) return std::erf(x);
  if constexpr (Op == Unary::sigmoid) return 1 / (1 + std::exp(-x));
  if constexpr (Op == Unary::relu) return x < 0 ? C(0) : x;
  if constexpr (Op == Unary::elu) return x > 0 ? x : std::expm1(x);
  if constexpr (Op == Unary::elu_grad) return x > 0 ? C(1) : std::exp(x);
  if constexpr (Op == Unary::softplus) return (x > 0 ? x : C(0)) + std::log1p(std::exp(-std::abs(x)));
  if constexpr (Op == Unary::silu) return x / (1 + std::exp(-x));
  if constexpr (Op == Unary::silu_grad) {
    const C s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
  }
  if constexpr (Op == Unary::gelu) return C(0.5) * x * (1 + std::erf(x * root_half));
  if constexpr (Op == Unary::gelu_grad)
    return C(0.5) * (1 + std::erf(x * root_half)) + x * inverse_root * std::exp(C(-0.5) * x * x);
  if constexpr (Op == Unary::gelu_tanh) return C(0.5) * x * (1 + std::tanh(k * (x + k3 * x * x * x)));
  if constexpr (Op == Unary::gelu_tanh_grad) {
    const C t = std::tanh(k * (x + k3 * x * x * x));
    return C(0.5) * (1 + t) + C(0.5) * x * (1 - t * t) * k * (1 + 3 * k3 * x * x);
  }
}

/// One word of two operands. Minimum and maximum of a NaN are NaN; comparisons give 1 or 0.
template <Binary Op, class C>
FLR_ALWAYS_INLINE C word(C a, C b) {
  if constexpr (Op == Binary::add) return a + b;
  if constexpr (Op == Binary::sub) return a - b;
  if constexpr (Op == Binary::mul) return a * b;
  if constexpr (Op == Binary::div) return a / b;
  if constexpr (Op == Binary::min) return a < b || a != a ? a : b;
  if constexpr (Op == Binary::max) return a > b || a != a ? a : b;
  if constexpr (Op == Binary::pow) return std::pow(a, b);
  if constexpr (Op == Binary::less) return a < b ? C(1) : C(0);
  if constexpr (Op == Binary::less_equal) return a <= b ? C(1) : C(0);
  if constexpr (Op == Binary::greater) return a > b ? C(1) : C(0);
  if constexpr (Op == Binary::greater_equal) return a >= b ? C(1) : C(0);
  if constexpr (Op == Binary::equal) return a == b ? C(1) : C(0);
  if constexpr (Op == Binary::not_equal) return a != b ? C(1) : C(0);
}

/// y = word(x); y may be x.
template <Unary Op, class C>
void map_run(const C* x, C* y, index_t n) {
  FLR_ELEMENTWISE
  for (index_t i = 0; i < n; ++i) y[i] = word<Op>(x[i]);
}

/// y = word(a, b); y may be a or b.
template <Binary Op, class C>
void map_run(const C* a, const C* b, C* y, index_t n) {
  FLR_ELEMENTWISE
  for (index_t i = 0; i < n; ++i) y[i] = word<Op>(a[i], b[i]);
}

template <Binary Op, class C>
void map_run_scalar(const C* a, C b, C* y, index_t n) {
  if constexpr (Op == Binary::pow) {
    // The powers that formulas are full of need no logarithm.
    if (b == C(1)) return map_run_scalar<Binary::add>(a, C(0), y, n);
    if (b == C(2)) return map_run<Unary::square>(a, y, n);
    if (b == C(-1)) return map_run<Unary::reciprocal>(a, y, n);
  }
  FLR_ELEMENTWISE
  for (index_t i = 0; i < n; ++i) y[i] = word<Op>(a[i], b);
}

template <class C>
void where_run(const C* condition, const C* a, const C* b, C* y, index_t n) {
  FLR_ELEMENTWISE
  for (index_t i = 0; i < n; ++i) {
    const C x = a[i], z = b[i];  // read whatever is chosen: a load without a branch
    y[i] = condition[i] != 0 ? x : z;
  }
}

template <class C>
void fill_block(C* y, C value, index_t n) {
  for (index_t i = 0; i < n; ++i) y[i] = value;
}

template <class C>
constexpr BlockMath<C> make_block_math() {
  BlockMath<C> math{};
  [&]<int... I>(std::integer_sequence<int, I...>) {
    ((math.unary[I] = map_run<static_cast<Unary>(I), C>), ...);
  }(std::make_integer_sequence<int, static_cast<int>(Unary::count)>{});
  [&]<int... I>(std::integer_sequence<int, I...>) {
    ((math.binary[I] = map_run<static_cast<Binary>(I), C>), ...);
    ((math.binary_scalar[I] = map_run_scalar<static_cast<Binary>(I), C>), ...);
  }(std::make_integer_sequence<int, static_cast<int>(Binary::count)>{});
  math.where = where_run<C>;
  math.fill = fill_block<C>;
  return math;
}

template <class C>
inline constexpr BlockMath<C> block_math = make_block_math<C>();

FLR_CPU_END
