// Elementwise formulas as types: silu(_1) * _2 + 0.5 is an expression template, composed by value.
//
// Only one formula, written by a person, is ever a type; what a network does with its results is a
// run-time graph. (A type is a tree: a residual network as one type grows exponentially.)
#pragma once

#include <concepts>
#include <type_traits>

#include "flr/core/map_params.hpp"

namespace flr::formula {

/// Base of every formula.
struct Formula {};

template <class F>
concept IsFormula = std::derived_from<std::remove_cvref_t<F>, Formula>;

/// The I-th tensor of the call, I ≥ 1.
template <int I>
struct Arg : Formula {};

/// A captured number. It travels as an argument: a new value is not a new formula.
struct Scalar : Formula {
  double value;
  constexpr explicit Scalar(double v) : value(v) {}
};

/// 0 and 1, which derivatives are full of, as types of their own so that they vanish.
struct Zero : Formula {};
struct One : Formula {};

template <Unary Op, class A>
struct Call1 : Formula {
  [[no_unique_address]] A a;
  constexpr explicit Call1(A x) : a(x) {}
};

template <Binary Op, class A, class B>
struct Call2 : Formula {
  [[no_unique_address]] A a;
  [[no_unique_address]] B b;
  constexpr Call2(A x, B y) : a(x), b(y) {}
};

/// c ≠ 0 ? a : b.
template <class C, class A, class B>
struct Where : Formula {
  [[no_unique_address]] C c;
  [[no_unique_address]] A a;
  [[no_unique_address]] B b;
  constexpr Where(C x, A y, B z) : c(x), a(y), b(z) {}
};

/// The largest placeholder of a formula.
template <class F>
inline constexpr int arity = 0;
template <int I>
inline constexpr int arity<Arg<I>> = I;
template <Unary Op, class A>
inline constexpr int arity<Call1<Op, A>> = arity<A>;
template <Binary Op, class A, class B>
inline constexpr int arity<Call2<Op, A, B>> = arity<A> > arity<B> ? arity<A> : arity<B>;
template <class C, class A, class B>
inline constexpr int arity<Where<C, A, B>> =
    arity<C> > arity<Call2<Binary::add, A, B>> ? arity<C> : arity<Call2<Binary::add, A, B>>;

/// A formula from a formula or a number.
template <IsFormula F>
constexpr auto lift(F f) { return f; }
template <class N>
  requires std::is_arithmetic_v<N>
constexpr Scalar lift(N value) { return Scalar(static_cast<double>(value)); }

/// What can stand in a formula: a formula or a number.
template <class X>
concept Operand = IsFormula<X> || std::is_arithmetic_v<std::remove_cvref_t<X>>;

/// Two operands of which at least one is a formula.
template <class A, class B>
concept Operands = Operand<A> && Operand<B> && (IsFormula<A> || IsFormula<B>);

}  // namespace flr::formula

namespace flr {
inline constexpr formula::Arg<1> _1{};
inline constexpr formula::Arg<2> _2{};
inline constexpr formula::Arg<3> _3{};
inline constexpr formula::Arg<4> _4{};
inline constexpr formula::Arg<5> _5{};
inline constexpr formula::Arg<6> _6{};
inline constexpr formula::Arg<7> _7{};
inline constexpr formula::Arg<8> _8{};
inline constexpr formula::Arg<9> _9{};
}  // namespace flr
