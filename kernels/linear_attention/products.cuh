// Products of a warp's tokens on tensor cores. A float is the sum of `Planes` bf16: one is bf16 itself,
// two hold 16 bits of mantissa (more than tf32 has), three the 24 of a float; a product takes all pairs
// of planes whose share a float can show.
#pragma once

#include "linear_attention/tokens.cuh"

namespace flr::cuda::linear_attention {

using u32 = std::uint32_t;

/// Two floats as planes of a register.
template <int Planes>
__device__ void split(float low, float high, u32 (&to)[Planes]) {
#pragma unroll
  for (int p = 0; p < Planes; ++p) {
    to[p] = pack_bf16(low, high);
    low -= low_half(to[p]), high -= high_half(to[p]);
  }
}

/// Values i and i + 1 of a lane's token r and chunk c, as planes.
template <int Planes, int Chunks>
__device__ void planes_of(const float (&x)[2][Chunks][8], int r, int c, int i, u32 (&to)[Planes]) {
  split<Planes>(x[r][c][i], x[r][c][i + 1], to);
}
template <int Planes, class T, int Chunks>
__device__ void planes_of(const Stored<T, Chunks>& x, int r, int c, int i, u32 (&to)[Planes]) {
  if constexpr (sizeof(T) == 2) to[0] = x.x[r][c].word[i / 2];
  else split<Planes>(x.x[r][c].value(i), x.x[r][c].value(i + 1), to);
}

/// d += a b; the smallest terms first.
template <int Planes>
__device__ void multiply(float (&d)[4], const u32 (&a)[Planes][4], const u32 (&b)[Planes][2]) {
#pragma unroll
  for (int both = Planes - 1; both >= 0; --both)
#pragma unroll
    for (int p = 0; p <= both; ++p) mma_k16(d, a[both - p], b[p][0], b[p][1]);
}

/// A warp's 32 rows of the state, in fragments: [i][j] are rows of blocks 2i and 2i + 1 of the part's
/// channels, columns of block j.
template <int W>
struct Sums {
  float s[2][W / 8][4] = {};
  float last[8] = {};  ///< the last column, for the lane's own channels, of its own tokens

  /// += Σ left rightᵀ over the tile's tokens; right: Values or as Stored.
  template <int Planes, class X>
  __device__ void add(const float (&left)[2][8], const X& right) {
    u32 a[2][Planes][4];
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e) {  // e: block 2i + e%2 of token g + 8(e/2)
        u32 x[Planes];
        const int at = 2 * (2 * i + e % 2);
        split<Planes>(left[e / 2][at], left[e / 2][at + 1], x);
#pragma unroll
        for (int p = 0; p < Planes; ++p) a[i][p][e] = turned(x[p]);
      }
#pragma unroll
    for (int j = 0; j < W / 8; ++j) {
      u32 b[Planes][2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        u32 x[Planes];
        planes_of<Planes>(right, r, j / 4, j % 4 * 2, x);
#pragma unroll
        for (int p = 0; p < Planes; ++p) b[p][r] = turned(x[p]);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        // Tensor cores cut off where an addition rounds: over many tiles that would be a bias.
        float d[4] = {};
        multiply<Planes>(d, a[i], b);
#pragma unroll
        for (int e = 0; e < 4; ++e) s[i][j][e] += d[e];
      }
    }
  }

  /// Writes what lies on the diagonal as a part of parts [B,H,splits,D,D+1].
  template <class P>
  __device__ void write(const Sizes& n, const P& at, float* parts) const {
    const auto head_of = [&](int c) {
      const int head = n.head_of(c);
      return c - head * n.D < n.D ? head : -1;
    };
    const auto part_of = [&](int head) {
      return parts + ((index_t{at.b} * n.H + at.first_head + head) * at.splits + at.split) * n.state();
    };
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = 32 * at.part + channel_of(2 * i + e / 2, at.g), head = head_of(row);
        if (head < 0 || at.first_head + head >= n.H) continue;
        float* to = part_of(head) + index_t{row - head * n.D} * (n.D + 1) - head * n.D;
#pragma unroll
        for (int j = 0; j < W / 8; ++j) {
          const int column = channel_of(j, 2 * at.t + e % 2);
          if (head_of(column) == head) to[column] = s[i][j][e];
        }
      }
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      float x = last[e];
#pragma unroll
      for (int d = 4; d < 32; d *= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
      const int row = 32 * at.part + 8 * at.t + e, head = head_of(row);
      if (at.g == 0 && head >= 0 && at.first_head + head < n.H)
        part_of(head)[index_t{row - head * n.D} * (n.D + 1) + n.D] = x;
    }
  }
};

/// Registers of a matrix as the right side of a product, one for each lane, in shared memory.
using Pair = Pack<u32, 2>;
template <int W, int Planes>
inline constexpr int fragment_pairs = (W / 16) * (W / 8) * Planes * 32;

/// Fills the fragments of a block's groups with their states [D,D+1], or those transposed: heads on
/// the diagonal and zeros beside them. All threads of the block take part; a barrier has to follow.
template <int W, int Planes>
__device__ void fill_fragments(const Sizes& n, const float* states, bool transposed, Pair* to) {
  constexpr int each = fragment_pairs<W, Planes> / Planes;
  const int group_blocks = (n.groups + n.beside - 1) / n.beside;
  const int b = int(blockIdx.y) / group_blocks, group0 = int(blockIdx.y) % group_blocks * n.beside;
#pragma unroll 4  // loads that wait together
  for (int i = int(threadIdx.x); i < n.beside * each; i += threads) {
    const int lane = i % 32, block = i % each / 32, slot = i / each;
    const int step = block / (W / 8), column = channel_of(block % (W / 8), lane / 4);
    const auto value = [&](int row) {
      const int head = n.head_of(row), h = (group0 + slot) * n.together + head;
      const int r = row - head * n.D, c = column - head * n.D;
      const bool exists = h < n.H && r < n.D && c >= 0 && c < n.D;
      const int within = transposed ? c * (n.D + 1) + r : r * (n.D + 1) + c;
      // Always a load, since loads do not wait together across branches.
      const float x = states[exists ? (index_t{b} * n.H + h) * n.state() + within : 0];
      return exists ? x : 0.0f;
    };
    u32 x[2][Planes];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = channel_of(2 * step + half, 2 * (lane % 4));
      split<Planes>(value(row), value(row + 1), x[half]);
    }
#pragma unroll
    for (int p = 0; p < Planes; ++p)
      to[slot * fragment_pairs<W, Planes> + (block * Planes + p) * 32 + lane] = {{x[0][p], x[1][p]}};
  }
}

/// y += x M for the tile's tokens, M as fill_fragments left it; x: Values or as Stored.
template <int W, int Planes, class X>
__device__ void add_product(const X& x, const Pair* fragments, Values<W / 32>& y) {
  const Pair* mine = fragments + threadIdx.x % 32;
  u32 a[W / 16][Planes][4];
#pragma unroll
  for (int s = 0; s < W / 16; ++s)
#pragma unroll
    for (int e = 0; e < 4; ++e) {  // e: token g + 8(e%2), block 2s + e/2
      u32 planes[Planes];
      const int block = 2 * s + e / 2;
      planes_of<Planes>(x, e % 2, block / 4, block % 4 * 2, planes);
#pragma unroll
      for (int p = 0; p < Planes; ++p) a[s][p][e] = planes[p];
    }
#pragma unroll
  for (int j = 0; j < W / 8; ++j) {
    const int c = j / 4, at = j % 4 * 2;
    float d[4] = {y[0][c][at], y[0][c][at + 1], y[1][c][at], y[1][c][at + 1]};
#pragma unroll
    for (int s = 0; s < W / 16; ++s) {
      u32 b[Planes][2];
#pragma unroll
      for (int p = 0; p < Planes; ++p) {
        const Pair pair = mine[((s * (W / 8) + j) * Planes + p) * 32];
        b[p][0] = pair.v[0], b[p][1] = pair.v[1];
      }
      multiply<Planes>(d, a[s], b);
    }
    y[0][c][at] = d[0], y[0][c][at + 1] = d[1], y[1][c][at] = d[2], y[1][c][at + 1] = d[3];
  }
}

/// The last column of the state for a lane's channels; zeros beside the head.
template <int Chunks, class P>
__device__ void load_last(const Sizes& n, const P& at, const float* states, float (&z)[Chunks][8]) {
  const float* state = states + (index_t{at.b} * n.H + at.head) * n.state() + n.D;
#pragma unroll
  for (int c = 0; c < Chunks; ++c)
#pragma unroll
    for (int e = 0; e < 8; ++e)
      z[c][e] = at.exists[c] ? state[index_t{at.channel + 32 * c + e} * (n.D + 1)] : 0.0f;
}

}  // namespace flr::cuda::linear_attention
