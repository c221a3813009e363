// Derivatives of formulas, made at compile time: derivative<I>(f) is another formula.
#pragma once

#include "flr/formula/vocabulary.hpp"

namespace flr::formula {

namespace detail {

/// The derivative of each word at a, as a formula of a.
template <Unary Op, class A>
constexpr auto slope(A a) {
  using enum Unary;
  if constexpr (Op == abs) return call<sign>(a);
  else if constexpr (Op == sign) return Zero{};
  else if constexpr (Op == exp) return call<exp>(a);
  else if constexpr (Op == log) return call<reciprocal>(a);
  else if constexpr (Op == sqrt) return 0.5 * call<rsqrt>(a);
  else if constexpr (Op == rsqrt) return -0.5 * call<rsqrt>(a) * call<reciprocal>(a);
  else if constexpr (Op == square) return 2.0 * a;
  else if constexpr (Op == reciprocal) return -call<square>(call<reciprocal>(a));
  else if constexpr (Op == sin) return call<cos>(a);
  else if constexpr (Op == cos) return -call<sin>(a);
  else if constexpr (Op == tanh) return 1.0 - call<square>(call<tanh>(a));
  else if constexpr (Op == erf)
    return 1.1283791670955126 * call<exp>(-call<square>(a));  // 2/√π
  else if constexpr (Op == sigmoid) return call<sigmoid>(a) * call<sigmoid>(-a);
  else if constexpr (Op == relu) return a > 0.0;
  else if constexpr (Op == elu) return call<elu_grad>(a);
  else if constexpr (Op == softplus) return call<sigmoid>(a);
  else if constexpr (Op == silu) return call<silu_grad>(a);
  else if constexpr (Op == gelu) return call<gelu_grad>(a);
  else if constexpr (Op == gelu_tanh) return call<gelu_tanh_grad>(a);
  else static_assert(Op != Op, "flr: this word has no derivative (it is one already)");
}

}  // namespace detail

template <int I, IsFormula F>
constexpr auto derivative(F f);

namespace detail {

template <int I, int J>
constexpr auto differentiate(Arg<J>) {
  if constexpr (I == J) return One{};
  else return Zero{};
}
template <int I>
constexpr auto differentiate(Scalar) { return Zero{}; }
template <int I>
constexpr auto differentiate(One) { return Zero{}; }
template <int I>
constexpr auto differentiate(Zero) { return Zero{}; }

template <int I, Unary Op, class A>
constexpr auto differentiate(Call1<Op, A> f) {
  const auto da = derivative<I>(f.a);
  if constexpr (std::same_as<std::remove_cv_t<decltype(da)>, Zero>) return Zero{};
  else if constexpr (Op == Unary::neg) return call<Unary::neg>(da);
  else return call<Binary::mul>(slope<Op>(f.a), da);
}

template <int I, Binary Op, class A, class B>
constexpr auto differentiate(Call2<Op, A, B> f) {
  using enum Binary;
  const auto da = derivative<I>(f.a);
  const auto db = derivative<I>(f.b);
  if constexpr (Op == add) return call<add>(da, db);
  else if constexpr (Op == sub) return call<sub>(da, db);
  else if constexpr (Op == mul) return call<add>(call<mul>(da, f.b), call<mul>(f.a, db));
  else if constexpr (Op == div)
    return call<sub>(call<div>(da, f.b),
                     call<div>(call<mul>(f.a, db), call<Unary::square>(f.b)));
  else if constexpr (Op == min) return select(call<less_equal>(f.a, f.b), da, db);
  else if constexpr (Op == max) return select(call<greater_equal>(f.a, f.b), da, db);
  else if constexpr (Op == pow) {
    const auto wrt_base = [&] {
      if constexpr (std::same_as<B, Scalar>)
        // The slope of x⁰ is 0 at 0 too, not 0 · ∞.
        return call<mul>(
            call<mul>(call<pow>(f.a, Scalar(f.b.value == 0 ? 0 : f.b.value - 1)), f.b), da);
      else return call<mul>(call<mul>(call<pow>(f.a, call<sub>(f.b, Scalar(1))), f.b), da);
    }();
    const auto wrt_exponent = call<mul>(call<mul>(f, call<Unary::log>(f.a)), db);
    return call<add>(wrt_base, wrt_exponent);
  } else return Zero{};  // comparisons are flat
}

template <int I, class C, class A, class B>
constexpr auto differentiate(Where<C, A, B> f) {
  return select(f.c, derivative<I>(f.a), derivative<I>(f.b));
}

}  // namespace detail

/// ∂f/∂_I as a formula of the same placeholders.
template <int I, IsFormula F>
constexpr auto derivative(F f) {
  return detail::differentiate<I>(f);
}

}  // namespace flr::formula
