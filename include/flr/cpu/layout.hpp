// Index arithmetic of strided loops: which axes can be walked as one, and positions in row-major
// order. The loops themselves live in the operations.
#pragma once

#include "flr/cpu/isa.hpp"

// Tells the vectoriser that elements of one loop do not depend on each other: a destination may be
// one of the sources, but never one of them shifted.
#if defined(__clang__)
#define FLR_ELEMENTWISE _Pragma("clang loop vectorize(assume_safety)")
#else
#define FLR_ELEMENTWISE _Pragma("GCC ivdep")
#endif

FLR_CPU_BEGIN

constexpr index_t smaller(index_t a, index_t b) {
  return a < b ? a : b;
}
constexpr index_t larger(index_t a, index_t b) {
  return a < b ? b : a;
}
constexpr index_t ceil_div(index_t a, index_t b) {
  return (a + b - 1) / b;
}

/// Axes, outermost first, with one list of strides for each of several operands. Axes of extent 1
/// vanish and neighbours that all operands run through without a gap are one axis.
template <int Operands>
struct Layout {
  int rank = 0;
  index_t extent[max_rank] = {};
  index_t stride[Operands][max_rank] = {};

  /// Adds an axis inside those present.
  void append(index_t n, const index_t (&strides)[Operands]) {
    if (n == 1) return;
    bool continues = rank > 0;
    for (int o = 0; continues && o < Operands; ++o)
      continues = stride[o][rank - 1] == strides[o] * n;
    if (continues) --rank, n *= extent[rank];
    for (int o = 0; o < Operands; ++o) stride[o][rank] = strides[o];
    extent[rank++] = n;
  }

  index_t numel() const {
    index_t n = 1;
    for (int a = 0; a < rank; ++a) n *= extent[a];
    return n;
  }

  /// The same without one axis.
  Layout without(int axis) const {
    Layout rest;
    for (int a = 0; a < rank; ++a) {
      if (a == axis) continue;
      rest.extent[rest.rank] = extent[a];
      for (int o = 0; o < Operands; ++o) rest.stride[o][rest.rank] = stride[o][a];
      ++rest.rank;
    }
    return rest;
  }
};

/// One position in a layout, with the offset of every operand there.
template <int Operands>
struct Position {
  const Layout<Operands>& layout;
  index_t at[max_rank] = {};
  index_t offset[Operands] = {};

  Position(const Layout<Operands>& l, index_t linear) : layout(l) {
    for (int a = l.rank - 1; a >= 0; --a) {
      at[a] = linear % l.extent[a];
      linear /= l.extent[a];
      for (int o = 0; o < Operands; ++o) offset[o] += at[a] * l.stride[o][a];
    }
  }

  void next() {
    for (int a = layout.rank - 1; a >= 0; --a) {
      for (int o = 0; o < Operands; ++o) offset[o] += layout.stride[o][a];
      if (++at[a] < layout.extent[a]) return;
      for (int o = 0; o < Operands; ++o) offset[o] -= layout.stride[o][a] * layout.extent[a];
      at[a] = 0;
    }
  }
};

FLR_CPU_END
