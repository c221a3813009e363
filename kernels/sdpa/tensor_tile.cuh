// Rows of bf16 or float for the tensor-core kernels of attention: tiles in shared memory, operands
// and sums in registers. g = lane / 4, t = lane % 4 (common/mma.cuh). Floats are multiplied as
// tf32.
//
// A tile holds rows of `Depth` channels, a power of two, in pieces of 16 bytes. ldmatrix reads the
// same piece of eight rows at once: the pieces of a row are exchanged by the row's number (an
// exclusive or), so that these eight lie in different banks.
//
// The rows that a warp owns (queries, or keys in the gradients of keys) are operand A of every
// product: once from memory for the scores, and as weights, which are scores in place, for the sums
// over the tile's rows. The tile's rows are operand B: as they stand for the scores, transposed for
// the sums. So nothing that is computed passes through shared memory.
//
// Channels are taken in slices of 32 bytes, one product each: sixteen of bf16, eight of float.
// (bf16 of eight channels in all are one slice of 16 bytes, m16n8k8.) ldmatrix, which moves 16-bit
// values, gives the four floats of a piece one to each lane t, which is B of m16n8k8 tf32 as well.
// It cannot transpose them: sums over rows read words, and take row 2t as t-th and row 2t + 1 as (t
// + 4)-th, the order in which scores are A in place.
#pragma once

#include <type_traits>

#include "common/device.cuh"
#include "common/mma.cuh"
#include "common/shared.cuh"
#include "plan.hpp"

namespace flr::cuda::attention::tensor {

using u32 = std::uint32_t;

template <class T>
inline constexpr bool is_float = std::is_same_v<T, float>;

template <class T, int Depth>
inline constexpr int row_bytes = Depth* int(sizeof(T));
template <class T, int Depth>
inline constexpr int slices = row_bytes<T, Depth> < 32 ? 1 : row_bytes<T, Depth> / 32;
/// Registers of an operand in a slice.
template <class T, int Depth>
inline constexpr int slice_registers = row_bytes<T, Depth> < 32 ? 2 : 4;
/// A slice of sixteen rows of a tile, B of two products.
template <class T, int Depth>
using Slice = u32[slice_registers<T, Depth>];

/// Sixteen rows, A of the scores.
template <class T, int Depth>
using Operand = u32[slices<T, Depth>][slice_registers<T, Depth>];
/// Sums for sixteen rows: [j][0], [j][1] are channels 8j + 2t, 8j + 2t + 1 of row g, [j][2], [j][3]
/// those of row g + 8.
template <int Depth>
using Sums = float[Depth / 8][4];

/// A position, counted from the first row of a tile, as one of it: 0 … tile.
__device__ inline int in_tile(index_t position, int tile) {
  return int(min(max(position, index_t{0}), index_t{tile}));
}

template <class T, int Depth>
struct Tile {
  static constexpr int row = row_bytes<T, Depth>, pieces = row / 16,
                       piece_channels = 16 / sizeof(T);

  /// Where a piece of a row lies.
  static __device__ unsigned offset(int r, int piece) {
    constexpr int rows_in_line = pieces < 8 ? 8 / pieces : 1, exchanged = pieces < 8 ? pieces : 8;
    return unsigned(r * row + (piece ^ r / rows_in_line % exchanged) * 16);
  }

  /// The block begins to copy n ≥ 1 rows of `depth` channels; zeros up to Rows and Depth.
  template <int Rows, int Threads = threads>
  static __device__ void copy(unsigned tile, const T* rows, index_t stride, int n, int depth) {
    constexpr int turn = Threads / pieces;  // rows; the exchange is the same for all of a thread
    static_assert(turn % 8 == 0);
    const int first = int(threadIdx.x) / pieces, piece = int(threadIdx.x) % pieces;
    const T* from = rows + first * stride + piece * piece_channels;
    tile += offset(first, piece);
    if (piece * piece_channels >= depth) n = 0;
#pragma unroll 2
    for (int r = 0; r < Rows; r += turn, from += turn * stride) {
      if (turn > Rows && first >= Rows) break;
      copy_async<16>(tile + unsigned(r * row), first + r < n ? from : rows, first + r < n);
    }
  }

  /// This lane's addresses in the first sixteen rows, slice 0. Eight rows on, the pieces are
  /// exchanged alike; slice s is an exclusive or with 32 s away.
  unsigned score_lane, sum_lane, next_lane;  ///< the last for floats: row 2t + 1
  __device__ Tile() {
    const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    score_lane =
        pieces == 1 ? offset(lane % 16, 0) : offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    if constexpr (is_float<T>) {
      sum_lane = offset(2 * t, g / 4) + unsigned(g % 4 * 4);
      next_lane = offset(2 * t + 1, g / 4) + unsigned(g % 4 * 4);
    } else {
      sum_lane = pieces == 1 ? offset(lane % 16, 0) : offset(lane % 16, lane / 16);
    }
  }

  /// B of the scores: rows first … first + 15 are columns, slice s. The first half of the registers
  /// are the first eight rows.
  __device__ void columns(Slice<T, Depth>& b, unsigned tile, int first, int s) const {
    load_matrices<false>(b, tile + unsigned(first * row) + (score_lane ^ unsigned(32 * s)));
    if constexpr (is_float<T>) {
#pragma unroll
      for (u32& x : b) x = to_tf32(__uint_as_float(x));
    }
  }
  /// B of a sum over rows first … first + 15: slice s of their channels are columns.
  __device__ void terms(Slice<T, Depth>& b, unsigned tile, int first, int s) const {
    tile += unsigned(first * row);
    if constexpr (is_float<T>) {
#pragma unroll
      for (int x = 0; x < 4; ++x)
        b[x] = to_tf32(load_float(tile + unsigned(x / 2 * 8 * row) +
                                  ((x % 2 ? next_lane : sum_lane) ^ unsigned(32 * s))));
    } else {
      load_matrices<true>(b, tile + (sum_lane ^ unsigned(32 * s)));
    }
  }
};

/// Rows first … first + 15; zeros beyond `count` rows or `depth` channels.
template <int Depth, class T>
__device__ void load_operand(Operand<T, Depth>& a, const T* rows, index_t stride, index_t first,
                             index_t count, int depth) {
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
#pragma unroll
  for (int x = 0; x < slice_registers<T, Depth>; ++x) {
    const index_t row = first + g + x % 2 * 8;
#pragma unroll
    for (int s = 0; s < slices<T, Depth>; ++s) {
      constexpr int piece = 16 / sizeof(T), own = 4 / sizeof(T);
      const int channel = (2 * s + x / 2) * piece + t * own;
      u32 y = 0;
      if (row < count && channel < depth)
        y = *reinterpret_cast<const u32*>(rows + row * stride + channel);
      if constexpr (is_float<T>) y = to_tf32(__uint_as_float(y));
      a[s][x] = y;
    }
  }
}

/// left, right += a slice of the sixteen own rows times sixteen columns.
template <class T, int R>
__device__ void add_scores(float (&left)[4], float (&right)[4], const u32 (&a)[R],
                           const u32 (&b)[R]) {
  if constexpr (is_float<T>) {
    mma_tf32(left, a, b[0], b[1]);
    mma_tf32(right, a, b[2], b[3]);
  } else if constexpr (R == 2) {
    mma_k8(left, a, b[0]);
    mma_k8(right, a, b[1]);
  } else {
    mma_k16(left, a, b[0], b[1]);
    mma_k16(right, a, b[2], b[3]);
  }
}

/// Sixteen columns of scores as A of a sum over them.
template <class T>
struct Weights {
  u32 a[4];
  Weights() = default;
  __device__ Weights(const float (&left)[4], const float (&right)[4])
      : a{pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]), pack_bf16(right[0], right[1]),
          pack_bf16(right[2], right[3])} {}

  /// sum += the sums of the rows, in [0] and [1] of row g, in [2] and [3] of row g + 8.
  __device__ void add_to(float (&sum)[4]) const {
    constexpr u32 ones = 0x3f803f80u;
    mma_k16(sum, a, ones, ones);
  }
  /// Slice s of the sums += these weights times terms.
  template <int Depth>
  __device__ void add_terms(Sums<Depth>& sums, const Slice<T, Depth>& b, int s) const {
    mma_k16(sums[2 * s], a, b[0], b[1]);
    if constexpr (Depth >= 16) mma_k16(sums[2 * s + 1], a, b[2], b[3]);
  }
};
template <>
struct Weights<float> {
  u32 left[4], right[4];
  Weights() = default;
  __device__ Weights(const float (&l)[4], const float (&r)[4])
      : left{to_tf32(l[0]), to_tf32(l[2]), to_tf32(l[1]), to_tf32(l[3])},
        right{to_tf32(r[0]), to_tf32(r[2]), to_tf32(r[1]), to_tf32(r[3])} {}

  __device__ void add_to(float (&sum)[4]) const {
    constexpr u32 one = 0x3f800000u;
    mma_tf32(sum, left, one, one);
    mma_tf32(sum, right, one, one);
  }
  template <int Depth>
  __device__ void add_terms(Sums<Depth>& sums, const Slice<float, Depth>& b, int s) const {
    mma_tf32(sums[s], left, b[0], b[1]);
    mma_tf32(sums[s], right, b[2], b[3]);
  }
};

/// The largest over the four lanes of a row.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/// Stores two neighbouring channels.
__device__ inline void put_pair(bf16* to, float a, float b, bool accumulate) {
  u32* const at = reinterpret_cast<u32*>(to);
  if (accumulate) a += low_bf16(*at), b += high_bf16(*at);
  *at = pack_bf16(a, b);
}
__device__ inline void put_pair(float* to, float a, float b, bool accumulate) {
  float2* const at = reinterpret_cast<float2*>(to);
  if (accumulate) a += at->x, b += at->y;
  *at = {a, b};
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
      if (8 * j + 2 * t < depth)
        put_pair(rows + row * stride + 8 * j + 2 * t, sums[j][2 * half] * factor[half],
                 sums[j][2 * half + 1] * factor[half], accumulate);
  }
}

/// Sums of the warps that own the same rows, added up in order of the loop warps into the first
/// one. `memory` holds own_warps · 32 · Groups · Depth / 2 floats; the block must be done with it.
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
