// The weight gradient's part of the bf16 backward pass: dW = dPᵀA, summed over rows, from operands
// that the chain of layers has left behind.
//
// An operand is stored 16 rows × 16 columns at a time: 32 lanes × 16 bytes, the four 8×8 quarters
// [rows 0-7 | 8-15 of columns 0-7, then of columns 8-15] each transposed, so that a lane holds two
// neighbouring rows of one column. With rows as the summed axis, that is at once the A fragment of
// dPᵀ (registers x z y w) and two B fragments of A (x y and z w): no shuffle, no conflict.
#pragma once

#include "residual_mlp/tile_bf16.cuh"

namespace flr::cuda::mlp {

/// Where the operands of one set of row tiles lie: layer l's dP and its input, [L+2] of each.
/// Before dP is known its place holds the slope of the activation (not transposed).
template <int Tiles>
struct Operands {
  uint4 *inputs, *gradients;
  int row_tiles;

  __device__ uint4* input(int l, int row_tile) const { return inputs + at(l, row_tile); }
  __device__ uint4* gradient(int l, int row_tile) const { return gradients + at(l, row_tile); }
  /// 16-byte words of either.
  __host__ __device__ static index_t words(int layers, index_t row_tiles) {
    return (layers + 2) * row_tiles * Tiles * 32;
  }

 private:
  __device__ index_t at(int l, int row_tile) const {
    return (index_t{l} * row_tiles + row_tile) * (Tiles * 32) + threadIdx.x % 32;
  }
};

template <int Tiles>
__device__ inline void store_operand(uint4* to, const Rows<Tiles>& a) {
#pragma unroll
  for (int k = 0; k < Tiles; ++k)
    to[k * 32] = {transpose_8x8(a[k][0]), transpose_8x8(a[k][1]), transpose_8x8(a[k][2]),
                  transpose_8x8(a[k][3])};
}

/// One warp's piece of a layer's dW: M·16 outputs × N·16 inputs, and the same outputs of db.
template <int M, int N>
struct WeightTile {
  float dw[M][N][2][4] = {};
  float db[M][2] = {};  ///< this lane's rows of outputs g and g + 8

  /// Adds 16 rows. d and a are this lane's words of column tile o and k of the operands.
  __device__ void add(const uint4* d, const uint4* a, bool bias) {
    uint4 right[N];
#pragma unroll
    for (int n = 0; n < N; ++n) right[n] = a[n * 32];
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const uint4 f = d[m * 32];
      const std::uint32_t left[4] = {f.x, f.z, f.y, f.w};
#pragma unroll
      for (int n = 0; n < N; ++n) {
        mma_k16(dw[m][n][0], left, right[n].x, right[n].y);
        mma_k16(dw[m][n][1], left, right[n].z, right[n].w);
      }
      if (bias) {
        db[m][0] += (low_bf16(f.x) + high_bf16(f.x)) + (low_bf16(f.y) + high_bf16(f.y));
        db[m][1] += (low_bf16(f.z) + high_bf16(f.z)) + (low_bf16(f.w) + high_bf16(f.w));
      }
    }
  }

  /// Writes, or adds to, dw [out,in] and db behind it, from output o and input k.
  __device__ void write(float* to, int out, int in, int o, int k, bool bias,
                        bool accumulate) const {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int row = o + m * 16 + g + i / 2 * 8, col = k + n * 16 + h * 8 + 2 * t + i % 2;
            if (row < out && col < in) put<float>(to + row * in + col, dw[m][n][h][i], accumulate);
          }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float sum = db[m][h];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        const int row = o + m * 16 + g + h * 8;
        if (bias && t == 0 && row < out) put<float>(to + out * in + row, sum, accumulate);
      }
    }
  }
};

}  // namespace flr::cuda::mlp
