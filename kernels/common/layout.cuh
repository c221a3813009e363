// Strided shapes for kernels: axes merged on the host, positions found on the device. Passed by
// value; dividing by an extent is one multiplication as long as positions fit 31 bits.
#pragma once

#include "device.cuh"

namespace flr::cuda {

/// Axes, outermost first, with one list of strides for each of several operands. Axes of extent 1
/// vanish, and neighbours that all operands run through without a gap are one axis.
template <int Operands>
struct Layout {
  int rank = 0;
  bool small = true;  ///< every position is below 2³¹
  index_t extent[max_rank] = {};
  index_t stride[Operands][max_rank] = {};
  unsigned magic[max_rank] = {}, shift[max_rank] = {};

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

  /// Whether the layout of operand `o` can be walked in packs of N: a contiguous last axis (or,
  /// with `splat`, one value for the whole of it) and every other stride a multiple of N.
  bool packs(int o, int N, bool splat = false) const {
    if (rank == 0 || extent[rank - 1] % N != 0) return false;
    if (splat && stride[o][rank - 1] == 0) return true;
    if (stride[o][rank - 1] != 1) return false;
    for (int a = 0; a + 1 < rank; ++a)
      if (stride[o][a] % N != 0) return false;
    return true;
  }

  /// Makes one position of the last axis stand for N elements.
  void group_last(int N) {
    extent[rank - 1] /= N;
    for (int o = 0; o < Operands; ++o) stride[o][rank - 1] *= N;
  }

  /// Prepares locate(); call it when the layout is complete.
  Layout& finish() {
    small = numel() <= 0x7fffffff;
    for (int a = 0; small && a < rank; ++a) {
      // ⌊i / d⌋ = (⌊i · magic / 2³²⌋ + i) >> shift for 0 ≤ i < 2³¹ (Granlund and Montgomery 1994).
      const std::uint64_t d = extent[a] > 0 ? static_cast<std::uint64_t>(extent[a]) : 1;
      unsigned s = 0;
      while ((std::uint64_t{1} << s) < d) ++s;
      shift[a] = s;
      magic[a] = static_cast<unsigned>(((((std::uint64_t{1} << s) - d) << 32) / d) + 1);
    }
    return *this;
  }

  /// The offset of every operand at a position in row-major order.
  __device__ void locate(index_t linear, index_t (&at)[Operands]) const {
#pragma unroll
    for (int o = 0; o < Operands; ++o) at[o] = 0;
    if (small) {
      unsigned i = static_cast<unsigned>(linear);
      for (int a = rank - 1; a >= 0; --a) {
        const unsigned q = a == 0 ? 0 : (__umulhi(i, magic[a]) + i) >> shift[a];
        const unsigned rest = i - q * static_cast<unsigned>(extent[a]);
#pragma unroll
        for (int o = 0; o < Operands; ++o) at[o] += index_t{rest} * stride[o][a];
        i = q;
      }
    } else {
      for (int a = rank - 1; a >= 0; --a) {
        const index_t q = a == 0 ? 0 : linear / extent[a], rest = linear - q * extent[a];
#pragma unroll
        for (int o = 0; o < Operands; ++o) at[o] += rest * stride[o][a];
        linear = q;
      }
    }
  }
};

}  // namespace flr::cuda
