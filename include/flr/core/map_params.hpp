// How a formula reaches a backend: a small static table per formula type, and a parameter struct per
// call. See formula/ for what a formula is.
#pragma once

#include <string>

#include "flr/core/scalar.hpp"
#include "flr/core/shape.hpp"

namespace flr {

/// Vocabulary of formulas, by number of operands. One list serves the CPU's block functions, the
/// printed CUDA code and the derivatives (formula/vocabulary.hpp).
enum class Unary : unsigned char {
  neg, abs, sign, exp, log, sqrt, rsqrt, square, reciprocal, sin, cos, tanh, erf, sigmoid,
  relu, elu, elu_grad, softplus, silu, silu_grad, gelu, gelu_grad, gelu_tanh, gelu_tanh_grad,
  count
};
enum class Binary : unsigned char {
  add, sub, mul, div, min, max, pow, less, less_equal, greater, greater_equal, equal, not_equal,
  count
};

/// The vocabulary over blocks of n values of type C (float or double), vectorised. Comparisons give
/// 1 or 0. Destinations may be one of the sources.
template <class C>
struct BlockMath {
  void (*unary[static_cast<int>(Unary::count)])(const C* x, C* y, index_t n);
  void (*binary[static_cast<int>(Binary::count)])(const C* a, const C* b, C* y, index_t n);
  /// The same with a scalar as the second operand.
  void (*binary_scalar[static_cast<int>(Binary::count)])(const C* a, C b, C* y, index_t n);
  /// y = condition ≠ 0 ? a : b.
  void (*where)(const C* condition, const C* a, const C* b, C* y, index_t n);
  void (*fill)(C* y, C value, index_t n);
};

/// The number of elements that a formula is evaluated on at a time: small enough that all
/// intermediate blocks stay in the first-level cache.
inline constexpr index_t map_block = 512;
inline constexpr int max_map_inputs = 10;   ///< nine placeholders and, in backward, the gradient
inline constexpr int max_map_outputs = 10;

/// One formula type for one compute type C: how to evaluate it on a block, and how to print it.
struct FormulaTable {
  /// Evaluates every output whose pointer is not null on n ≤ map_block elements. `in` and `out` point to blocks of C, `math`
  /// to a BlockMath<C>, `scratch` to scratch_blocks · map_block values of C.
  void (*block)(const void* formula, const void* const* in, void* const* out, index_t n,
                const void* math, void* scratch);
  int scratch_blocks;
  std::string (*print)(const void* formula, int output) = nullptr;
  /// Writes the scalars that output's text calls s0, s1, … and returns how many there are; a null
  /// `values` only counts. Text and count depend on the formula's type alone.
  int (*scalars)(const void* formula, int output, double* values) = nullptr;
};

/// out[j] = formula_j(in…) (or += where accumulate[j]) over `shape`; inputs broadcast by strides
/// of 0; outputs are contiguous; an output that is null is not computed. Elements have the table's storage type; the formula is computed in
/// compute_t of it.
struct MapParams {
  Shape shape;
  int n_in = 0, n_out = 0;
  const void* in[max_map_inputs] = {};
  Shape in_strides[max_map_inputs];
  void* out[max_map_outputs] = {};
  bool accumulate[max_map_outputs] = {};
  const void* formula = nullptr;
  const FormulaTable* table = nullptr;
};

}  // namespace flr
