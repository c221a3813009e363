// What the ways of the feed-forward layer for 128 channels on Hopper share: matrices in shared memory as
// warpgroups read them (common/wgmma.cuh).
#pragma once

#include "common/mma.cuh"
#include "common/shared.cuh"
#include "common/warp_arrives.cuh"
#include "common/wgmma.cuh"
#include "flr/core/params.hpp"

namespace flr::cuda::feed_forward {

constexpr int wide_channels = 128, wide_threads = 256;

/// Begins to copy a panel matrix of Rows rows by Columns columns; zeros beyond `rows` and `columns`, a
/// multiple of 8.
template <int Rows, int Columns>
__device__ void copy_panels(unsigned to, const bf16* from, int stride, int rows = Rows, int columns = Columns) {
  constexpr int pieces = Columns / 8, turn = wide_threads / pieces;
  static_assert(turn % 8 == 0 && Rows % turn == 0);  // a thread's pieces are exchanged alike
  const int first = int(threadIdx.x) / pieces, column = int(threadIdx.x) % pieces * 8;
  to += unsigned(in_panels(Rows, first, column)) * 2;
  const bf16* at = from + first * stride + column;
  if (column >= columns) rows = 0;
#pragma unroll
  for (int r = 0; r < Rows; r += turn, at += turn * stride)
    copy_async<16>(to + unsigned(r * 128), first + r < rows ? at : from, first + r < rows);
}

/// Stores 16 rows of sums, row g at `to` and row g + 8 eight strides on, of which `rows` exist. The lanes of a
/// quad, each of which has two of every eight channels, exchange them so that each writes eight.
__device__ inline void store_rows(bf16* to, int stride, int rows, const WideSums& sums) {
  const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const bool odd = t % 2 != 0, second = t / 2 != 0;
  const auto swapped = [](std::uint32_t x, int apart) { return __shfl_xor_sync(0xffffffffu, x, apart); };
#pragma unroll
  for (int r = 0; r < 2; ++r)
#pragma unroll
    for (int q = 0; q < wide_channels / 32; ++q) {
      std::uint32_t v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float(&of)[4] = sums[2 * q + j / 2][j % 2];
        v[j] = pack_bf16(of[2 * r], of[2 * r + 1]);
      }
      // Eights 0 and 2 to even lanes, 1 and 3 to odd ones; then the first two to the first two lanes.
#pragma unroll
      for (int j = 0; j < 4; j += 2) {
        const std::uint32_t other = swapped(odd ? v[j] : v[j + 1], 1);
        (odd ? v[j] : v[j + 1]) = other;
      }
      const std::uint32_t low = swapped(second ? v[0] : v[2], 2), high = swapped(second ? v[1] : v[3], 2);
      const uint4 eight = second ? uint4{low, high, v[2], v[3]} : uint4{v[0], v[1], low, high};
      if (g + 8 * r < rows) *reinterpret_cast<uint4*>(to + (g + 8 * r) * stride + 32 * q + 8 * t) = eight;
    }
}

}  // namespace flr::cuda::feed_forward
