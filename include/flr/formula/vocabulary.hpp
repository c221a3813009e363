// The words of formulas: one table of names, with their CUDA spelling, and the functions that users
// write. Derivatives are in derivative.hpp, values in the backends (BlockMath).
#pragma once

#include "flr/formula/expression.hpp"

namespace flr::formula {

struct Word {
  const char* name;  ///< as printed in CUDA C++ and in messages
};

inline constexpr Word unary_words[] = {
    {"neg"},  {"abs"},  {"sign"},    {"exp"},       {"log"},      {"sqrt"},
    {"rsqrt"}, {"square"}, {"reciprocal"}, {"sin"}, {"cos"},      {"tanh"},
    {"erf"},  {"sigmoid"}, {"relu"}, {"elu"},       {"elu_grad"}, {"softplus"},
    {"silu"}, {"silu_grad"}, {"gelu"}, {"gelu_grad"}, {"gelu_tanh"}, {"gelu_tanh_grad"}};
static_assert(std::size(unary_words) == static_cast<std::size_t>(Unary::count));

inline constexpr Word binary_words[] = {{"+"}, {"-"},  {"*"}, {"/"},  {"min"}, {"max"}, {"pow"},
                                        {"<"}, {"<="}, {">"}, {">="}, {"=="},  {"!="}};
static_assert(std::size(binary_words) == static_cast<std::size_t>(Binary::count));

template <Unary Op, class A>
constexpr auto call(A a) {
  return Call1<Op, A>(a);
}

/// Builds a binary call; sums with 0 and products with 0 or 1 vanish, which keeps derivatives small.
template <Binary Op, class A, class B>
constexpr auto call(A a, B b) {
  constexpr bool a0 = std::same_as<A, Zero>, b0 = std::same_as<B, Zero>;
  constexpr bool a1 = std::same_as<A, One>, b1 = std::same_as<B, One>;
  if constexpr (Op == Binary::add && a0) return b;
  else if constexpr (Op == Binary::add && b0) return a;
  else if constexpr (Op == Binary::sub && b0) return a;
  else if constexpr (Op == Binary::sub && a0) return call<Unary::neg>(b);
  else if constexpr (Op == Binary::mul && (a0 || b0)) return Zero{};
  else if constexpr (Op == Binary::mul && a1) return b;
  else if constexpr (Op == Binary::mul && b1) return a;
  else if constexpr (Op == Binary::div && a0) return Zero{};
  // A scalar stands second wherever the operation commutes: backends have that case.
  else if constexpr ((Op == Binary::add || Op == Binary::mul || Op == Binary::min ||
                      Op == Binary::max) && std::same_as<A, Scalar>)
    return Call2<Op, B, A>(b, a);
  else return Call2<Op, A, B>(a, b);
}

template <class C, class A, class B>
constexpr auto select(C c, A a, B b) {
  if constexpr (std::same_as<A, Zero> && std::same_as<B, Zero>) return Zero{};
  else return Where<C, A, B>(c, a, b);
}

// Found by argument-dependent lookup, since every formula lives in this namespace.
#define FLR_FORMULA_UNARY(word) \
  template <IsFormula A>        \
  constexpr auto word(A a) { return call<Unary::word>(a); }
FLR_FORMULA_UNARY(abs)
FLR_FORMULA_UNARY(sign)
FLR_FORMULA_UNARY(exp)
FLR_FORMULA_UNARY(log)
FLR_FORMULA_UNARY(sqrt)
FLR_FORMULA_UNARY(rsqrt)
FLR_FORMULA_UNARY(square)
FLR_FORMULA_UNARY(reciprocal)
FLR_FORMULA_UNARY(sin)
FLR_FORMULA_UNARY(cos)
FLR_FORMULA_UNARY(tanh)
FLR_FORMULA_UNARY(erf)
FLR_FORMULA_UNARY(sigmoid)
FLR_FORMULA_UNARY(relu)
FLR_FORMULA_UNARY(elu)
FLR_FORMULA_UNARY(softplus)
FLR_FORMULA_UNARY(silu)
FLR_FORMULA_UNARY(gelu)
FLR_FORMULA_UNARY(gelu_tanh)
#undef FLR_FORMULA_UNARY

template <IsFormula A>
constexpr auto operator-(A a) { return call<Unary::neg>(a); }

#define FLR_FORMULA_BINARY(word, op)    \
  template <class A, class B>           \
    requires Operands<A, B>             \
  constexpr auto word(A a, B b) { return call<Binary::op>(lift(a), lift(b)); }
FLR_FORMULA_BINARY(operator+, add)
FLR_FORMULA_BINARY(operator-, sub)
FLR_FORMULA_BINARY(operator*, mul)
FLR_FORMULA_BINARY(operator/, div)
FLR_FORMULA_BINARY(min, min)
FLR_FORMULA_BINARY(max, max)
FLR_FORMULA_BINARY(pow, pow)
FLR_FORMULA_BINARY(operator<, less)
FLR_FORMULA_BINARY(operator<=, less_equal)
FLR_FORMULA_BINARY(operator>, greater)
FLR_FORMULA_BINARY(operator>=, greater_equal)
FLR_FORMULA_BINARY(operator==, equal)
FLR_FORMULA_BINARY(operator!=, not_equal)
#undef FLR_FORMULA_BINARY

/// condition ≠ 0 ? a : b. The condition carries no gradient.
template <IsFormula C, Operand A, Operand B>
constexpr auto where(C c, A a, B b) {
  return select(c, lift(a), lift(b));
}

}  // namespace flr::formula
