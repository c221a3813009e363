// Features as rows and tokens as columns, for what runs over all tokens: a warp keeps rows ω' in
// registers and walks over tokens, sixteen at a time.
#pragma once

#include "performer/fragments.cuh"

namespace flr::cuda::performer {

/// Rows of a warp: two blocks of 16.
inline constexpr int warp_rows = 32;

/// A warp's head, rows and share of the tokens. Warps of a head are numbered rows first, so that those
/// with the same tokens are neighbours.
struct ColumnPlace {
  index_t item, split, splits;
  int b, h, first_row;
  bool exists;

  __device__ ColumnPlace(const Problem& p, int splits_in) {
    const int groups = (p.R + warp_rows - 1) / warp_rows, units = groups * splits_in;
    const int blocks = (units + warps - 1) / warps;
    item = blockIdx.x / blocks;
    b = int(item / p.H), h = int(item % p.H);
    const int unit = int(blockIdx.x % blocks) * warps + int(threadIdx.x / 32);
    first_row = unit % groups * warp_rows;
    split = unit / groups, splits = splits_in;
    exists = unit < units;
  }
};

/// How many shares the tokens are cut into, and blocks for all.
struct ColumnGrid {
  int splits;
  unsigned blocks;

  ColumnGrid(const Problem& p, index_t tokens) {
    const int groups = (p.R + warp_rows - 1) / warp_rows;
    const index_t wanted = ceil_div(index_t{8} * multiprocessors(), p.heads() * groups);
    const index_t tiles = ceil_div(tokens, tile);
    splits = int(wanted < tiles ? wanted : tiles);
    blocks = unsigned(p.heads() * ceil_div(index_t{groups} * splits, warps));
  }
};

/// Rows ω' of a warp as left operands in two pieces; zeros from row R on.
template <int D>
struct Rows {
  u32 head[2][sixteens<D>][4], rest[2][sixteens<D>][4];

  __device__ Rows(const Problem& p, const float* omega, int first) {
    const int g = int(threadIdx.x % 32) / 4, t = int(threadIdx.x % 4);
    const float factor = p.factor * log2_e;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int s = 0; s < sixteens<D>; ++s)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int r = first + 16 * m + g + i % 2 * 8, d = 16 * s + 2 * t + i / 2 * 8;
          const bool there = r < p.R && d < D;
          const float low = there ? omega[r * D + d] * factor : 0.0f;
          const float high = there ? omega[r * D + d + 1] * factor : 0.0f;
          in_two_pieces(low, high, head[m][s][i], rest[m][s][i]);
        }
  }
};

/// Eight tokens as a right operand whose columns they are.
template <int D>
struct Column {
  u32 b[sixteens<D>][2];

  __device__ void load(const bf16* x, index_t row, index_t first, index_t end) {
    const int g = int(threadIdx.x % 32) / 4, t = int(threadIdx.x % 4);
#pragma unroll
    for (int s = 0; s < sixteens<D>; ++s)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int d = 16 * s + 8 * half + 2 * t;
        b[s][half] = first + g < end && d < D ? two_bf16(x + (first + g) * row + d) : 0;
      }
  }
  /// e += ω' x for block m of the rows.
  __device__ void add_exponents(float (&e)[4], const Rows<D>& rows, int m) const {
#pragma unroll
    for (int s = 0; s < sixteens<D>; ++s) {
      mma_k16(e, rows.rest[m][s], b[s][0], b[s][1]);
      mma_k16(e, rows.head[m][s], b[s][0], b[s][1]);
    }
  }
};

}  // namespace flr::cuda::performer
