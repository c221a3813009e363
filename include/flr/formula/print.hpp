// Formulas as text: CUDA C++ for the run-time compiler, and names for graphs and messages.
#pragma once

#include <string>

#include "flr/formula/vocabulary.hpp"

namespace flr::formula {

/// Placeholders print as x1 … x9, captured scalars as s0, s1, … in order of appearance.
template <int I>
std::string print(const Arg<I>&, int&) { return "x" + std::to_string(I); }
inline std::string print(const Scalar&, int& scalars) { return "s" + std::to_string(scalars++); }
inline std::string print(const One&, int&) { return "1"; }
inline std::string print(const Zero&, int&) { return "0"; }
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

}  // namespace flr::formula
