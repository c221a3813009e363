// [S|z] = Σ_n φ_n (v_n|w_n)ᵀ over keys, or over queries for the gradient of that.
#include <cmath>

#include "performer/columns.cuh"

namespace flr::cuda::performer {
namespace {

/// Sixteen tokens as a warp reads them.
template <int D>
struct Chunk {
  Column<D> x[2];
  u32 v[2][eights<D>];     ///< token g + 8 · half, block j, channels 2t and 2t + 1
  float c[2][2], w[2][2];  ///< of tokens 2t and 2t + 1 (+ 8 · half)

  __device__ void load(const Terms& s, const bf16* x_head, const bf16* v_head, index_t item, index_t i) {
    const int g = int(threadIdx.x % 32) / 4, t = int(threadIdx.x % 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const index_t first = tile * i + 8 * half;
      x[half].load(x_head, s.x.s.row, first, s.N);
#pragma unroll
      for (int j = 0; j < eights<D>; ++j)
        v[half][j] = first + g < s.N ? two_bf16(v_head + (first + g) * s.v.s.row + 8 * j + 2 * t) : 0;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const index_t n = first + 2 * t + e;
        c[half][e] = n < s.N ? s.c[item * s.N + n] : -INFINITY;
        w[half][e] = n >= s.N ? 0.0f : s.w ? s.w[item * s.N + n] : 1.0f;
      }
    }
  }
};

template <int D>
__global__ void __launch_bounds__(threads) sums_kernel(Problem p, Terms s, int splits, float* parts) {
  constexpr int blocks = eights<D> + 1;
  const ColumnPlace at(p, splits);
  if (!at.exists) return;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const Rows<D> rows(p, p.rows + index_t{at.h} * p.R * D, at.first_row);
  const bf16 *x_head = s.x.head(at.b, at.h), *v_head = s.v.head(at.b, at.h);
  const float shift = log2f(p.scale) - (s.maximum ? s.maximum[at.item] : 0.0f);
  const index_t tiles = (s.N + tile - 1) / tile;
  float sums[2][blocks][4] = {};
  Chunk<D> next;
  next.load(s, x_head, v_head, at.item, at.split);
  for (index_t i = at.split; i < tiles; i += at.splits) {
    const Chunk<D> now = next;
    next.load(s, x_head, v_head, at.item, i + at.splits);
    u32 right[blocks][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < eights<D>; ++j) right[j][half] = transpose_8x8(now.v[half][j]);
      u32 head, rest;
      in_two_pieces(now.w[half][0], now.w[half][1], head, rest);
      right[eights<D>][half] = g == 0 ? head : g == 1 ? rest : 0;
    }
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      float f[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float c0 = now.c[half][0], c1 = now.c[half][1];
        const float o0 = c0 == -INFINITY ? 0.0f : p.offset, o1 = c1 == -INFINITY ? 0.0f : p.offset;
        float e[4] = {c0 + shift, c1 + shift, c0 + shift, c1 + shift};
        now.x[half].add_exponents(e, rows, m);
#pragma unroll
        for (int j = 0; j < 4; ++j) f[half][j] = exp2_fast(e[j]) + (j % 2 ? o1 : o0);
      }
      u32 a[4];
      as_left(f[0], f[1], a);
#pragma unroll
      for (int j = 0; j < blocks; ++j) {
        // Tensor cores cut off where an addition rounds: over many tokens that would be a bias.
        float d[4] = {};
        mma_k16(d, a, right[j][0], right[j][1]);
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[m][j][e] += d[e];
      }
    }
  }
  float* to = parts + (at.item * at.splits + at.split) * p.state();
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = at.first_row + 16 * m + 8 * half + g;
      if (r >= p.R) continue;
      float* row = to + index_t{r} * (D + 1);
#pragma unroll
      for (int j = 0; j < eights<D>; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) row[8 * j + 2 * t + e] = sums[m][j][2 * half + e];
      if (t == 0) row[D] = sums[m][eights<D>][2 * half] + sums[m][eights<D>][2 * half + 1];
    }
}

}  // namespace

void sums(const Problem& p, const Terms& s, float* state) {
  const ColumnGrid grid(p, s.N);
  const Scratch<float> parts(grid.splits > 1 ? p.heads() * grid.splits * p.state() : 0);
  float* to = grid.splits > 1 ? parts.data() : state;
  with_width(p.D, [&]<int D>() {
    sums_kernel<D><<<grid.blocks, threads, 0, stream()>>>(p, s, grid.splits, to);
    check_launch("performer_sums");
  });
  if (grid.splits == 1) return;
  flare::Sizes n;
  n.B = int(p.B), n.H = int(p.H), n.M = p.R, n.D = p.D + 1;
  const HeadStrides strides{p.H * p.state(), p.state(), p.D + 1};
  flare::reduce_partials<float>(n, parts, grid.splits, 1, {{state, strides}, GradMode::overwrite});
}

}  // namespace flr::cuda::performer
