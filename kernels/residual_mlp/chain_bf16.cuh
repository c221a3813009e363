// The bf16 backward pass of one warp's 16 or 32 rows: forward again, then back through the layers.
//
//   dP_i = dA_i ∘ act'(P_i), dA_{i-1} = dA_i + dP_i W_i, dx = dP_0 W_0 (+ dA_0)
// Leaves dP_i and the input of layer i where dW_i = dP_iᵀ A_{i-1} finds them
// (weight_tile_bf16.cuh). Activations, dA and dP are rounded to bf16, as a layer-by-layer bf16 pass
// rounds them; P is not. Slopes lie between −0.2 and 1.2 and wait as halves, in the same room eight
// times as exact as bf16, with which the error of the gradients was a tenth larger. What else would
// help takes registers that are not there: 14 % for dA in float, 4 % for the residual stream. An
// exact tanh would help nothing.
#pragma once

#include <cuda_fp16.h>

#include "residual_mlp/activation.cuh"
#include "residual_mlp/weight_tile_bf16.cuh"

namespace flr::cuda::mlp {

__device__ inline std::uint32_t pack_half(float low, float high) {
  const __half2 p = __floats2half2_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&p);
}
/// x of two bf16 ∘ slope of two halves.
__device__ inline std::uint32_t apply_slope(std::uint32_t x, std::uint32_t slope) {
  const float2 s = __half22float2(*reinterpret_cast<const __half2*>(&slope));
  return pack_bf16(low_bf16(x) * s.x, high_bf16(x) * s.y);
}

/// Rows row … row + 16 M − 1 of all; `tile` is the place of the first 16 among the operands. M = 2
/// halves the reads of weights.
template <int Hid, bool Gelu, int M = 1>
__device__ inline void backward_chain(const ResidualMlpBackwardParams<bf16>& p,
                                      const Weights<Hid, ResidualMlpBackwardParams<bf16>>& weights,
                                      const Operands<Width<Hid>::tiles>& operands, int tile,
                                      index_t row) {
  using W = Width<Hid>;
  constexpr int G = M > 1 ? 1 : W::group;
  const int in = int(p.in), out = int(p.out), in_tiles = (in + 15) / 16,
            out_tiles = (out + 15) / 16;
  const int last = p.layers + 1;
  Rows<W::tiles> a[M];
#pragma unroll
  for (int m = 0; m < M; ++m) {
    load_rows<W::tiles>(a[m], p.x, row + m * 16, p.rows, in);
    store_operand<W::tiles>(operands.input(0, tile + m), a[m]);
  }
  for (int l = 0; l <= p.layers; ++l) {
    const bool skip = l > 0 || p.residual_in;
    uint4* slopes = operands.gradient(l, tile);
    const auto point = [&](int m, int k, const float(&v)[2][4], std::uint32_t(&next)[4]) {
      std::uint32_t slope[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const ValueSlope left = activate<true, Gelu>(p.act, v[q / 2][q % 2 * 2]);
        const ValueSlope right = activate<true, Gelu>(p.act, v[q / 2][q % 2 * 2 + 1]);
        next[q] = pack_bf16(left.value + (skip ? low_bf16(a[m][k][q]) : 0.f),
                            right.value + (skip ? high_bf16(a[m][k][q]) : 0.f));
        slope[q] = pack_half(left.slope, right.slope);
      }
      slopes[(m * W::tiles + k) * 32] = {slope[0], slope[1], slope[2], slope[3]};
    };
    layer<Hid, G>(a, weights.layer(l), weights.bias + l * Hid, l ? W::tiles : in_tiles, point);
#pragma unroll
    for (int m = 0; m < M; ++m) store_operand<W::tiles>(operands.input(l + 1, tile + m), a[m]);
  }

  // From here a holds dP of the layer at hand, da what has come back to its output.
  Rows<W::tiles> da[M];
#pragma unroll
  for (int m = 0; m < M; ++m) {
    load_rows<W::tiles>(a[m], p.dy, row + m * 16, p.rows, out);
    store_operand<W::tiles>(operands.gradient(last, tile + m), a[m]);
  }
  const bf16* w = weights.layer(last);
#pragma unroll
  for (int first = 0; first < W::tiles; first += G) {
    Sums<G> sums[M];
#pragma unroll
    for (int m = 0; m < M; ++m) start(sums[m], a[m], first, p.residual_out);
    multiply<true, Hid>(sums, a, w, first, out_tiles);
#pragma unroll
    for (int m = 0; m < M; ++m) round_sums(da[m], sums[m], first);
  }
  for (int l = p.layers; l >= 0; --l) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
      uint4* slopes = operands.gradient(l, tile + m);
#pragma unroll
      for (int k = 0; k < W::tiles; ++k) {
        const uint4 s = slopes[k * 32];
        const std::uint32_t slope[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
        for (int q = 0; q < 4; ++q) a[m][k][q] = apply_slope(da[m][k][q], slope[q]);
      }
      store_operand<W::tiles>(slopes, a[m]);
    }
    if (l == 0) break;
    w = weights.layer(l);
#pragma unroll
    for (int first = 0; first < W::tiles; first += G) {
      Sums<G> sums[M];
#pragma unroll
      for (int m = 0; m < M; ++m) start(sums[m], da[m], first, true);
      multiply<true, Hid>(sums, a, w, first, W::tiles);
#pragma unroll
      for (int m = 0; m < M; ++m) round_sums(da[m], sums[m], first);
    }
  }
  if (p.dx_mode == GradMode::ignore) return;
  w = weights.layer(0);
  const bool pairs = in_pairs(p.dx, in);
#pragma unroll
  for (int first = 0; first < W::tiles; first += G) {
    if (first * 16 >= in) break;
    Sums<G> sums[M];
#pragma unroll
    for (int m = 0; m < M; ++m) start(sums[m], da[m], first, p.residual_in);
    multiply<true, Hid>(sums, a, w, first, W::tiles);
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int j = 0; j < G; ++j)
#pragma unroll
        for (int q = 0; q < 4; ++q)
          store_pair(p.dx, row + m * 16 + row_of(q), p.rows, col_of(first + j, q), in, pairs,
                     sums[m][j][q / 2][q % 2 * 2], sums[m][j][q / 2][q % 2 * 2 + 1],
                     p.dx_mode == GradMode::accumulate);
  }
}

}  // namespace flr::cuda::mlp
