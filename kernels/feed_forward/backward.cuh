// What the two ways of the feed-forward layer's backward pass share: how the work is cut, and how what is
// computed with hidden units as rows is stored with them as columns.
#pragma once

#include "feed_forward/layer.cuh"

namespace flr::cuda::feed_forward {

constexpr int backward_warps = 8, backward_threads = 32 * backward_warps;
constexpr int units = 16 * backward_warps;  ///< of a block
constexpr int step = 64, places = 3;        ///< rows that arrive at a time, and those of them that are there

template <int C>
constexpr int place_bytes = 2 * step * C * 2;  ///< x and dy

/// A block's rows and hidden units.
struct Share {
  int hidden, chunk, part, rows;
  index_t begin;
  __device__ Share(int hidden, index_t all_rows, index_t stretch) : hidden(hidden) {
    const int chunks = (hidden + units - 1) / units;
    chunk = int(blockIdx.x) % chunks, part = int(blockIdx.x) / chunks;
    begin = part * stretch;
    rows = int(all_rows - begin < stretch ? all_rows - begin : stretch);
  }
};

/// Stores sixteen units of sixteen rows, of which `a` has units as rows. Neighbouring lanes exchange
/// halves, so that each writes four units and a row's lie in one sector.
__device__ inline void store_turned(bf16* to, int hidden, int rows, const std::uint32_t (&a)[4]) {
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
  const bool odd = t % 2 != 0;
  to += g * hidden + t % 2 * 8 + t / 2 * 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const std::uint32_t low = transpose_8x8(a[2 * r]), high = transpose_8x8(a[2 * r + 1]);
    const std::uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? low : high, 1);
    const uint2 four = odd ? uint2{other, high} : uint2{low, other};
    if (g + 8 * r < rows) *reinterpret_cast<uint2*>(to + 8 * r * hidden) = four;
  }
}

/// sum += the sums over sixteen rows of eight channels, which b0 and b1 hold as a right operand.
__device__ inline void add_rows(float (&sum)[4], std::uint32_t b0, std::uint32_t b1) {
  constexpr std::uint32_t one = 0x3f803f80u, ones[4] = {one, one, one, one};  // two in bf16 each
  mma_k16(sum, ones, b0, b1);
}

/// Stores a part of the sums that belong to units `own` … `own` + 15.
template <int C, class Sum>
__device__ void store_part(float* to, int part, int hidden, int own, Sum sum) {
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int unit = own + g + 8 * r;
    if (unit >= hidden) continue;
    float* const at = to + (index_t{part} * hidden + unit) * C + 2 * t;
#pragma unroll
    for (int j = 0; j < C / 8; ++j) tensor::put_pair(at + 8 * j, sum(j, 2 * r), sum(j, 2 * r + 1), false);
  }
}

}  // namespace flr::cuda::feed_forward
