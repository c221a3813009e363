// Rows of bf16 for the tensor-core kernels of attention: tiles in shared memory, operands and sums
// in registers. g = lane / 4, t = lane % 4 (common/mma.cuh).
//
// A tile holds rows of `Depth` channels, a power of two, in pieces of 16 bytes (eight channels).
// ldmatrix reads the same piece of eight rows at once: the pieces of a row are exchanged by the
// row's number (an exclusive or), so that these eight lie in different banks.
//
// The rows that a warp owns (queries, or keys in the gradients of keys) are operand A of every
// product: once from memory for the scores, and as weights, which are scores in place, for the sums
// over the tile's rows. The tile's rows are operand B: as they stand for the scores, transposed by
// ldmatrix for the sums. So nothing that is computed passes through shared memory.
#pragma once

#include "common/device.cuh"
#include "common/mma.cuh"
#include "common/shared.cuh"
#include "plan.hpp"

namespace flr::cuda::attention::tensor {

using u32 = std::uint32_t;

/// Slices of channels that one product sums over: sixteen, or eight where there are no more.
template <int Depth>
inline constexpr int slices = Depth < 16 ? 1 : Depth / 16;
/// Registers of an operand in a slice.
template <int Depth>
inline constexpr int slice_registers = Depth < 16 ? 2 : 4;

/// Sixteen rows, A of the scores.
template <int Depth>
using Operand = u32[slices<Depth>][slice_registers<Depth>];
/// Sums for sixteen rows: [j][0], [j][1] are channels 8j + 2t, 8j + 2t + 1 of row g, [j][2], [j][3]
/// those of row g + 8.
template <int Depth>
using Sums = float[Depth / 8][4];

/// A position, counted from the first row of a tile, as one of it: 0 … tile.
__device__ inline int in_tile(index_t position, int tile) {
  return int(min(max(position, index_t{0}), index_t{tile}));
}

template <int Depth>
struct Tile {
  static constexpr int pieces = Depth / 8, row_bytes = Depth * 2;

  /// Where a piece of a row lies.
  static __device__ unsigned offset(int row, int piece) {
    constexpr int rows_in_line = pieces < 8 ? 8 / pieces : 1, exchanged = pieces < 8 ? pieces : 8;
    return unsigned(row * row_bytes + (piece ^ row / rows_in_line % exchanged) * 16);
  }

  /// The block begins to copy n ≥ 1 rows of `depth` channels; zeros up to Rows and Depth.
  template <int Rows>
  static __device__ void copy(unsigned tile, const bf16* rows, index_t stride, int n, int depth) {
    constexpr int turn = threads / pieces;  // rows; the exchange is the same for all of a thread
    static_assert(turn % 8 == 0);
    const int row = int(threadIdx.x) / pieces, piece = int(threadIdx.x) % pieces;
    const bf16* from = rows + row * stride + piece * 8;
    tile += offset(row, piece);
    if (piece * 8 >= depth) n = 0;
#pragma unroll 2
    for (int r = 0; r < Rows; r += turn, from += turn * stride) {
      if (turn > Rows && row >= Rows) break;
      copy_async<16>(tile + unsigned(r * row_bytes), row + r < n ? from : rows, row + r < n);
    }
  }

  /// This lane's addresses in the first sixteen rows, slice 0. Sixteen rows on, the pieces are
  /// exchanged alike; slice s is an exclusive or with 32 s away.
  unsigned score_lane, sum_lane;
  __device__ Tile() {
    const int lane = int(threadIdx.x) % 32;
    if constexpr (pieces == 1) {
      score_lane = sum_lane = offset(lane % 16, 0);
    } else {
      score_lane = offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
      sum_lane = offset(lane % 16, lane / 16);
    }
  }

  /// B of the scores: rows `row` … row + 15 are columns, slice s. Registers 0 … of the first eight
  /// rows, then those of the other eight.
  __device__ void columns(u32 (&b)[slice_registers<Depth>], unsigned tile, int row, int s) const {
    load_matrices<false>(b, tile + unsigned(row * row_bytes) + (score_lane ^ unsigned(32 * s)));
  }
  /// B of a sum over rows `row` … row + 15: slice s of their channels are columns. Two registers
  /// for every eight channels.
  __device__ void terms(u32 (&b)[slice_registers<Depth>], unsigned tile, int row, int s) const {
    load_matrices<true>(b, tile + unsigned(row * row_bytes) + (sum_lane ^ unsigned(32 * s)));
  }
};

/// Rows first … first + 15; zeros beyond `count` rows or `depth` channels.
template <int Depth>
__device__ void load_operand(Operand<Depth>& a, const bf16* rows, index_t stride, index_t first,
                             index_t count, int depth) {
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
#pragma unroll
  for (int x = 0; x < slice_registers<Depth>; ++x) {
    const index_t row = first + g + x % 2 * 8;
#pragma unroll
    for (int s = 0; s < slices<Depth>; ++s) {
      const int channel = 16 * s + x / 2 * 8 + 2 * t;
      a[s][x] = row < count && channel < depth
                    ? *reinterpret_cast<const u32*>(rows + row * stride + channel)
                    : 0;
    }
  }
}

/// left, right += a slice of the sixteen own rows times sixteen columns.
template <int R>
__device__ void add_scores(float (&left)[4], float (&right)[4], const u32 (&a)[R],
                           const u32 (&b)[R]) {
  if constexpr (R == 2) {
    mma_k8(left, a, b[0]);
    mma_k8(right, a, b[1]);
  } else {
    mma_k16(left, a, b[0], b[1]);
    mma_k16(right, a, b[2], b[3]);
  }
}

/// Sixteen columns of scores as A of a sum over them.
struct Weights {
  u32 a[4];
  Weights() = default;
  __device__ Weights(const float (&left)[4], const float (&right)[4])
      : a{pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]), pack_bf16(right[0], right[1]),
          pack_bf16(right[2], right[3])} {}
};
/// Slice s of the sums += weights times terms.
template <int Depth>
__device__ void add_terms(Sums<Depth>& sums, const Weights& w,
                          const u32 (&b)[slice_registers<Depth>], int s) {
  mma_k16(sums[2 * s], w.a, b[0], b[1]);
  if constexpr (Depth >= 16) mma_k16(sums[2 * s + 1], w.a, b[2], b[3]);
}

/// The largest and the sum over the four lanes of a row.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/// Stores two neighbouring channels, rounded (U = bf16) or not (U = float).
__device__ inline void put_pair(bf16* to, float a, float b, bool accumulate) {
  u32* const at = reinterpret_cast<u32*>(to);
  if (accumulate) a += low_bf16(*at), b += high_bf16(*at);
  *at = pack_bf16(a, b);
}
__device__ inline void put_pair(float* to, float a, float b, bool) {
  *reinterpret_cast<float2*>(to) = {a, b};
}
/// Rows first … first + 15 of the sums, row g times factor[0], row g + 8 times factor[1].
template <int Depth, class U>
__device__ void store_sums(const Sums<Depth>& sums, const float (&factor)[2], U* rows,
                           index_t stride, index_t first, index_t count, int depth,
                           bool accumulate) {
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const index_t row = first + g + 8 * half;
    if (row >= count) continue;
#pragma unroll
    for (int j = 0; j < Depth / 8; ++j)
      if (8 * j < depth)
        put_pair(rows + row * stride + 8 * j + 2 * t, sums[j][2 * half] * factor[half],
                 sums[j][2 * half + 1] * factor[half], accumulate);
  }
}

/// Sums of the warps that own the same rows, added up in order of the loop warps into the first one.
/// `memory` holds own_warps · 32 · Groups · Depth / 2 floats; the block must be done with it.
template <int Depth, int Groups>
__device__ void sum_warps(Sums<Depth> (&sums)[Groups], float* memory, int own_warp, int loop_warp,
                          int loop_warps) {
  float* const at = memory + own_warp * (Groups * Depth / 2 * 32) + int(threadIdx.x) % 32;
  for (int w = 1; w < loop_warps; ++w) {
    __syncthreads();
#pragma unroll
    for (int x = 0; x < Groups * Depth / 2; ++x)
      if (loop_warp == w) at[x * 32] = sums[x / (Depth / 2)][x / 4 % (Depth / 8)][x % 4];
    __syncthreads();
#pragma unroll
    for (int x = 0; x < Groups * Depth / 2; ++x)
      if (loop_warp == 0) sums[x / (Depth / 2)][x / 4 % (Depth / 8)][x % 4] += at[x * 32];
  }
}

}  // namespace flr::cuda::attention::tensor
