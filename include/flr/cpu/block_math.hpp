// The vocabulary of formulas (core/map_params.hpp) over blocks in the first-level cache.
#pragma once

#include <cmath>

#include "flr/core/map_params.hpp"
#include "flr/cpu/simd_storage.hpp"
#include "flr/cpu/vector_math.hpp"

FLR_CPU_BEGIN

/// f on every lane, for words without a vector form.
template <class C, class F>
FLR_ALWAYS_INLINE simd::Vec<C> by_lanes(simd::Vec<C> x, F f) {
  C v[simd::lanes<C>];
  simd::store(v, x);
  for (C& e : v) e = f(e);
  return simd::load(v);
}

/// One word at x; the *_grad words are derivatives there.
template <Unary Op, class C>
FLR_ALWAYS_INLINE simd::Vec<C> word(simd::Vec<C> x) {
  using V = simd::Vec<C>;
  const V zero{}, one = simd::splat(C(1));
  if constexpr (Op == Unary::neg)
    return -x;
  else if constexpr (Op == Unary::abs)
    return simd::vabs<C>(x);
  else if constexpr (Op == Unary::sign)
    return simd::select<C>(x > zero, one, simd::select<C>(x < zero, -one, x));
  else if constexpr (Op == Unary::exp)
    return simd::exp<C>(x);
  else if constexpr (Op == Unary::log)
    return simd::log<C>(x);
  else if constexpr (Op == Unary::sqrt)
    return simd::sqrt(x);
  else if constexpr (Op == Unary::rsqrt)
    return one / simd::sqrt(x);
  else if constexpr (Op == Unary::square)
    return x * x;
  else if constexpr (Op == Unary::reciprocal)
    return one / x;
  else if constexpr (Op == Unary::sin)
    return by_lanes<C>(x, [](C v) { return std::sin(v); });
  else if constexpr (Op == Unary::cos)
    return by_lanes<C>(x, [](C v) { return std::cos(v); });
  else if constexpr (Op == Unary::tanh)
    return simd::tanh<C>(x);
  else if constexpr (Op == Unary::erf)
    return simd::erf<C>(x);
  else if constexpr (Op == Unary::sigmoid)
    return simd::sigmoid<C>(x);
  else if constexpr (Op == Unary::relu)
    return simd::select<C>(x < zero, zero, x);
  else if constexpr (Op == Unary::elu) {
    // Below −40 the value is −1 to the last bit. A NaN takes the first branch.
    const V left = simd::expm1_moderate<C>(simd::vmax<C>(x, simd::splat(C(-40))));
    return simd::select<C>(x <= zero, left, x);
  } else if constexpr (Op == Unary::elu_grad)
    return simd::select<C>(x > zero, one, simd::exp<C>(x));
  else if constexpr (Op == Unary::softplus)
    return simd::softplus<C>(x);
  else if constexpr (Op == Unary::silu)
    return simd::silu<C>(x).value;
  else if constexpr (Op == Unary::silu_grad)
    return simd::silu<C>(x).slope;
  else if constexpr (Op == Unary::gelu)
    return simd::gelu<C>(x).value;
  else if constexpr (Op == Unary::gelu_grad)
    return simd::gelu<C>(x).slope;
  else if constexpr (Op == Unary::gelu_tanh)
    return simd::gelu_tanh<C>(x).value;
  else if constexpr (Op == Unary::gelu_tanh_grad)
    return simd::gelu_tanh<C>(x).slope;
}

/// One word of two operands. Minimum and maximum of a NaN are NaN; comparisons give 1 or 0.
template <Binary Op, class C>
FLR_ALWAYS_INLINE simd::Vec<C> word(simd::Vec<C> a, simd::Vec<C> b) {
  const auto truth = [](simd::Mask<C> mask) {
    return simd::select<C>(mask, simd::splat(C(1)), simd::Vec<C>{});
  };
  if constexpr (Op == Binary::add)
    return a + b;
  else if constexpr (Op == Binary::sub)
    return a - b;
  else if constexpr (Op == Binary::mul)
    return a * b;
  else if constexpr (Op == Binary::div)
    return a / b;
  else if constexpr (Op == Binary::min)
    return simd::select<C>((a < b) | (a != a), a, b);
  else if constexpr (Op == Binary::max)
    return simd::select<C>((a > b) | (a != a), a, b);
  else if constexpr (Op == Binary::less)
    return truth(a < b);
  else if constexpr (Op == Binary::less_equal)
    return truth(a <= b);
  else if constexpr (Op == Binary::greater)
    return truth(a > b);
  else if constexpr (Op == Binary::greater_equal)
    return truth(a >= b);
  else if constexpr (Op == Binary::equal)
    return truth(a == b);
  else if constexpr (Op == Binary::not_equal)
    return truth(a != b);
  else if constexpr (Op == Binary::pow) {
    C base[simd::lanes<C>], power[simd::lanes<C>];
    simd::store(base, a);
    simd::store(power, b);
    for (int i = 0; i < simd::lanes<C>; ++i) base[i] = std::pow(base[i], power[i]);
    return simd::load(base);
  }
}

/// y = word(x); y may be x.
template <Unary Op, class C>
void map_run(const C* x, C* y, index_t n) {
  simd::for_vectors<C>(0, n, [=](index_t i, index_t count) {
    simd::store_any(y + i, word<Op, C>(simd::load_any(x + i, count)), count);
  });
}

/// y = word(a, b); y may be a or b.
template <Binary Op, class C>
void map_run(const C* a, const C* b, C* y, index_t n) {
  simd::for_vectors<C>(0, n, [=](index_t i, index_t count) {
    simd::store_any(y + i, word<Op, C>(simd::load_any(a + i, count), simd::load_any(b + i, count)),
                    count);
  });
}

template <Binary Op, class C>
void map_run_scalar(const C* a, C b, C* y, index_t n) {
  if constexpr (Op == Binary::pow) {
    // The powers that formulas are full of need no logarithm.
    if (b == C(1)) return map_run_scalar<Binary::add>(a, C(0), y, n);
    if (b == C(2)) return map_run<Unary::square>(a, y, n);
    if (b == C(-1)) return map_run<Unary::reciprocal>(a, y, n);
  }
  const simd::Vec<C> second = simd::splat(b);
  simd::for_vectors<C>(0, n, [=](index_t i, index_t count) {
    simd::store_any(y + i, word<Op, C>(simd::load_any(a + i, count), second), count);
  });
}

template <class C>
void where_run(const C* condition, const C* a, const C* b, C* y, index_t n) {
  simd::for_vectors<C>(0, n, [=](index_t i, index_t count) {
    const simd::Vec<C> chosen =
        simd::select<C>(simd::load_any(condition + i, count) != simd::Vec<C>{},
                        simd::load_any(a + i, count), simd::load_any(b + i, count));
    simd::store_any(y + i, chosen, count);
  });
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
  }
  (std::make_integer_sequence<int, static_cast<int>(Unary::count)>{});
  [&]<int... I>(std::integer_sequence<int, I...>) {
    ((math.binary[I] = map_run<static_cast<Binary>(I), C>), ...);
    ((math.binary_scalar[I] = map_run_scalar<static_cast<Binary>(I), C>), ...);
  }
  (std::make_integer_sequence<int, static_cast<int>(Binary::count)>{});
  math.where = where_run<C>;
  math.fill = fill_block<C>;
  return math;
}

template <class C>
inline constexpr BlockMath<C> block_math = make_block_math<C>();

FLR_CPU_END
