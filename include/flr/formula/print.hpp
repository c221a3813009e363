// Formulas as text: CUDA C++ for the run-time compiler, and names for graphs and messages; and the
// values of the scalars that the text only names.
#pragma once

#include <string>

#include "flr/formula/vocabulary.hpp"

namespace flr::formula {

/// Placeholders print as x1 … x9, captured scalars as s0, s1, … in order of appearance.
template <int I>
std::string print(const Arg<I>&, int&) { return "x" + std::to_string(I); }
inline std::string print(const Scalar&, int& scalars) { return "s" + std::to_string(scalars++); }
// With a point: a quotient of two of them must not be one of integers.
inline std::string print(const One&, int&) { return "1.0"; }
inline std::string print(const Zero&, int&) { return "0.0"; }
template <Unary Op, class A>
std::string print(const Call1<Op, A>& f, int& scalars) {
  const std::string a = print(f.a, scalars);
  if constexpr (Op == Unary::neg) return "(-" + a + ")";
  else return std::string(unary_words[static_cast<int>(Op)].name) + "(" + a + ")";
}
template <Binary Op, class A, class B>
std::string print(const Call2<Op, A, B>& f, int& scalars) {
  const std::string a = print(f.a, scalars), b = print(f.b, scalars);
  const std::string word = binary_words[static_cast<int>(Op)].name;
  if constexpr (Op == Binary::min || Op == Binary::max || Op == Binary::pow)
    return word + "(" + a + ", " + b + ")";
  else return "(" + a + " " + word + " " + b + ")";
}
template <class C, class A, class B>
std::string print(const Where<C, A, B>& f, int& scalars) {
  const std::string c = print(f.c, scalars), a = print(f.a, scalars), b = print(f.b, scalars);
  return "(" + c + " != 0 ? " + a + " : " + b + ")";
}

template <IsFormula F>
std::string print(const F& f) {
  int scalars = 0;
  return print(f, scalars);
}

/// Writes the values of s0, s1, …, in the order in which print() meets them.
template <int I>
void collect(const Arg<I>&, double*&) {}
inline void collect(const Scalar& f, double*& next) { *next++ = f.value; }
inline void collect(const One&, double*&) {}
inline void collect(const Zero&, double*&) {}
template <Unary Op, class A>
void collect(const Call1<Op, A>& f, double*& next) { collect(f.a, next); }
template <Binary Op, class A, class B>
void collect(const Call2<Op, A, B>& f, double*& next) {
  collect(f.a, next);
  collect(f.b, next);
}
template <class C, class A, class B>
void collect(const Where<C, A, B>& f, double*& next) {
  collect(f.c, next);
  collect(f.a, next);
  collect(f.b, next);
}

/// The number of captured scalars in a formula.
template <class F>
inline constexpr int scalar_count = std::same_as<F, Scalar> ? 1 : 0;
template <Unary Op, class A>
inline constexpr int scalar_count<Call1<Op, A>> = scalar_count<A>;
template <Binary Op, class A, class B>
inline constexpr int scalar_count<Call2<Op, A, B>> = scalar_count<A> + scalar_count<B>;
template <class C, class A, class B>
inline constexpr int scalar_count<Where<C, A, B>> =
    scalar_count<C> + scalar_count<A> + scalar_count<B>;

/// Their values, unless `values` is null; returns their number.
template <IsFormula F>
int scalars(const F& f, double* values) {
  if (values) collect(f, values);
  return scalar_count<F>;
}

}  // namespace flr::formula
