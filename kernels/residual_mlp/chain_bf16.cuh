// The bf16 backward pass of one warp's 16 rows: forward again, then back through the layers.
//
//   dP_i = dA_i ∘ act'(P_i), dA_{i-1} = dA_i + dP_i W_i, dx = dP_0 W_0 (+ dA_0)
// Leaves dP_i and the input of layer i where dW_i = dP_iᵀ A_{i-1} finds them
// (weight_tile_bf16.cuh). Slopes, activations and dP are rounded to bf16, as a layer-by-layer bf16
// pass rounds P, A and dP.
#pragma once

#include "activation.cuh"
#include "weight_tile_bf16.cuh"

namespace flr::cuda::mlp {

/// Rows row … row + 15 of all; `tile` is their place among the operands.
template <int Hid, bool Gelu>
__device__ inline void backward_chain(const ResidualMlpBackwardParams<bf16>& p,
                                      const Weights<Hid, ResidualMlpBackwardParams<bf16>>& weights,
                                      const Operands<Width<Hid>::tiles>& operands, int tile,
                                      index_t row) {
  using W = Width<Hid>;
  const int in = int(p.in), out = int(p.out), in_tiles = (in + 15) / 16,
            out_tiles = (out + 15) / 16;
  const int last = p.layers + 1;
  Rows<W::tiles> a[1];
  load_rows<W::tiles>(a[0], p.x, row, p.rows, in);
  store_operand<W::tiles>(operands.input(0, tile), a[0]);
  for (int l = 0; l <= p.layers; ++l) {
    const bool skip = l > 0 || p.residual_in;
    uint4* slopes = operands.gradient(l, tile);
    const auto point = [&](int, int k, const float(&v)[2][4], std::uint32_t(&next)[4]) {
      std::uint32_t slope[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const ValueSlope left = activate<true, Gelu>(p.act, v[q / 2][q % 2 * 2]);
        const ValueSlope right = activate<true, Gelu>(p.act, v[q / 2][q % 2 * 2 + 1]);
        next[q] = pack_bf16(left.value + (skip ? low_bf16(a[0][k][q]) : 0.f),
                            right.value + (skip ? high_bf16(a[0][k][q]) : 0.f));
        slope[q] = pack_bf16(left.slope, right.slope);
      }
      slopes[k * 32] = {slope[0], slope[1], slope[2], slope[3]};
    };
    layer<Hid>(a, weights.layer(l), weights.bias + l * Hid, l ? W::tiles : in_tiles, point);
    store_operand<W::tiles>(operands.input(l + 1, tile), a[0]);
  }

  // From here a holds dP of the layer at hand, da what has come back to its output.
  Rows<W::tiles> da;
  load_rows<W::tiles>(a[0], p.dy, row, p.rows, out);
  store_operand<W::tiles>(operands.gradient(last, tile), a[0]);
  const bf16* w = weights.layer(last);
#pragma unroll
  for (int first = 0; first < W::tiles; first += W::group) {
    Sums<Hid> sums[1];
    start<Hid>(sums[0], a[0], first, p.residual_out);
    multiply<true, Hid>(sums, a, w, first, out_tiles);
    round_sums<Hid>(da, sums[0], first);
  }
  for (int l = p.layers; l >= 0; --l) {
    uint4* slopes = operands.gradient(l, tile);
#pragma unroll
    for (int k = 0; k < W::tiles; ++k) {
      const uint4 s = slopes[k * 32];
      const std::uint32_t slope[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
      for (int q = 0; q < 4; ++q)
        a[0][k][q] = pack_bf16(low_bf16(da[k][q]) * low_bf16(slope[q]),
                               high_bf16(da[k][q]) * high_bf16(slope[q]));
    }
    store_operand<W::tiles>(slopes, a[0]);
    if (l == 0) break;
    w = weights.layer(l);
#pragma unroll
    for (int first = 0; first < W::tiles; first += W::group) {
      Sums<Hid> sums[1];
      start<Hid>(sums[0], da, first, true);
      multiply<true, Hid>(sums, a, w, first, W::tiles);
      round_sums<Hid>(da, sums[0], first);
    }
  }
  if (p.dx_mode == GradMode::ignore) return;
  w = weights.layer(0);
  const bool pairs = in_pairs(p.dx, in);
#pragma unroll
  for (int first = 0; first < W::tiles; first += W::group) {
    if (first * 16 >= in) break;
    Sums<Hid> sums[1];
    start<Hid>(sums[0], da, first, p.residual_in);
    multiply<true, Hid>(sums, a, w, first, W::tiles);
#pragma unroll
    for (int j = 0; j < W::group; ++j)
#pragma unroll
      for (int q = 0; q < 4; ++q)
        store_pair(p.dx, row + row_of(q), p.rows, col_of(first + j, q), in, pairs,
                   sums[0][j][q / 2][q % 2 * 2], sums[0][j][q / 2][q % 2 * 2 + 1],
                   p.dx_mode == GradMode::accumulate);
  }
}

}  // namespace flr::cuda::mlp
