// A block's rows of a float residual MLP through layers on the tensor cores: the plan of
// tile_f32.cuh (rows in shared memory, weights in panels of 64 columns), with products of tf32
// parts: three of them under fp32, one of rounded operands under tf32 (flare/fragments_f32.cuh
// says why that is enough).
//
// A thread owns four sums of each of M fragments of 16 rows × 8 columns: rows g and g + 8, columns
// 2t and 2t + 1. With M > 1 a warp has every other row tile and two column tiles, so that what is
// read and split of either operand is used twice or more. Rows are hid + 4 apart and the panel's
// 72: banks 4g + t and 8t + g, all different.
#pragma once

#include "common/mma.cuh"
#include "flr/core/precision.hpp"
#include "residual_mlp/tile_f32.cuh"

namespace flr::cuda::mlp::tf32 {

constexpr int panel_stride = panel + 8;

/// Two sets of rows and a panel.
inline int tile_bytes(int m, int hid) {
  return (2 * m * 16 * row_stride(hid) + hid * panel_stride) * int(sizeof(float));
}

/// Row and column (in the panel) of this thread's sums 2h and 2h + 1 of fragment m.
template <int M>
__device__ inline int row_of(int m, int h) {
  const int warp = int(threadIdx.x) / 32;
  return (M == 1 ? 0 : m / 2 * 2 + warp % 2) * 16 + int(threadIdx.x) % 32 / 4 + h * 8;
}
template <int M>
__device__ inline int col_of(int m) {
  const int warp = int(threadIdx.x) / 32;
  return (M == 1 ? warp : warp / 2 * 2 + m % 2) * 8 + int(threadIdx.x) % 4 * 2;
}

/// Rows first … first + 16 M − 1 of x [rows, cols], 0 outside and up to a multiple of 8 columns.
template <int M>
__device__ void load_tile(float* to, int stride, const float* x, index_t first, index_t rows,
                          int cols) {
  const int fours_in_row = (cols + 7) / 8 * 2;
  const bool fours = in_fours(x, cols);
  for (int i = threadIdx.x; i < M * 16 * fours_in_row; i += tile_threads) {
    const int row = i / fours_in_row, col = i % fours_in_row * 4;
    const float4 v = first + row < rows ? load_four(x + (first + row) * cols, col, cols, fours)
                                        : make_float4(0, 0, 0, 0);
    *reinterpret_cast<float4*>(to + row * stride + col) = v;
  }
}

/// The panel of columns n0 … of the right operand, [k][64], from w: Wᵀ of w [n,k], or w [k,n]
/// itself; rows up to a multiple of 8 and columns from n on are 0. Waits for everybody before and
/// after.
template <bool Transposed>
__device__ void load_panel(float* to, const float* w, int n, int k, int n0) {
  const int k_pad = (k + 7) / 8 * 8;
  const bool fours = in_fours(w, Transposed ? k : n);
  __syncthreads();
  for (int i = threadIdx.x; i < k_pad * (panel / 4); i += tile_threads) {
    float4 v = make_float4(0, 0, 0, 0);
    if constexpr (Transposed) {
      const int col = i % panel, at = i / panel * 4;
      if (n0 + col < n) v = load_four(w + index_t{n0 + col} * k, at, k, fours);
      float* const corner = to + at * panel_stride + col;
      corner[0] = v.x, corner[panel_stride] = v.y;
      corner[2 * panel_stride] = v.z, corner[3 * panel_stride] = v.w;
    } else {
      const int col = i % (panel / 4) * 4, at = i / (panel / 4);
      if (at < k) v = load_four(w + index_t{at} * n, n0 + col, n, fours);
      *reinterpret_cast<float4*>(to + at * panel_stride + col) = v;
    }
  }
  __syncthreads();
}

/// A panel of at most 64 rows on its way to shared memory, in registers meanwhile: load_panel in two
/// parts, for blocks that have nothing else to do while a layer's weights come from L2.
template <bool Transposed>
struct PanelAhead {
  static constexpr int fours = panel * (panel / 4) / tile_threads;
  float4 v[fours];

  __device__ static int row(int i) {
    const int at = int(threadIdx.x) + i * tile_threads;
    return Transposed ? at / panel * 4 : at / (panel / 4);
  }
  __device__ static int column(int i) {
    const int at = int(threadIdx.x) + i * tile_threads;
    return Transposed ? at % panel : at % (panel / 4) * 4;
  }
  __device__ void fetch(const float* w, int n, int k, int n0) {
    const bool whole = in_fours(w, Transposed ? k : n);
#pragma unroll
    for (int i = 0; i < fours; ++i) {
      const int at = row(i), col = n0 + column(i);
      v[i] = make_float4(0, 0, 0, 0);
      if (Transposed ? col < n && at < k : at < k)
        v[i] = Transposed ? load_four(w + index_t{col} * k, at, k, whole)
                          : load_four(w + index_t{at} * n, col, n, whole);
    }
  }
  /// The first rows of it, up to a multiple of 8: shared memory has no more. Waits for everybody
  /// before and after.
  __device__ void place(float* to, int k) const {
    const int k_pad = (k + 7) / 8 * 8;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < fours; ++i) {
      if (row(i) >= k_pad) break;
      float* const corner = to + row(i) * panel_stride + column(i);
      if constexpr (Transposed) {
        corner[0] = v[i].x, corner[panel_stride] = v[i].y;
        corner[2 * panel_stride] = v[i].z, corner[3 * panel_stride] = v[i].w;
      } else {
        *reinterpret_cast<float4*>(corner) = v[i];
      }
    }
    __syncthreads();
  }
};

/// The tf32 parts of N floats.
template <int Terms, int N>
struct Split {
  std::uint32_t big[N], small[N];
  __device__ void set(int i, float x) {
    big[i] = to_tf32(x);
    if constexpr (Terms == 3) small[i] = __float_as_uint(x - __uint_as_float(big[i]));
  }
};

/// sums += this warp's rows of a times its columns of the panel, over k. Tensor cores round sums
/// towards zero: under fp32 they add 16 steps at most, floats the rest.
template <int Terms, int M>
__device__ inline void multiply(float (&sums)[M][4], const float* a, int stride, const float* right,
                                int k) {
  constexpr int cols = M == 1 ? 1 : 2;
  // A fragment alone would wait for each of its products: they get sums of their own.
  constexpr int chains = Terms == 3 && M == 1 ? 3 : 1;
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
  const float* const rows = a + row_of<M>(0, 0) * stride + t;
  const float* const columns = right + t * panel_stride + col_of<M>(0) - 2 * t + g;
  for (int first = 0; first < k; first += 16) {
    float parts[chains][M][4] = {};
#pragma unroll
    for (int step = 0; step < 16; step += 8) {
      const int at = first + step;
      if (at >= k) break;
      Split<Terms, 2> b[cols];
#pragma unroll
      for (int n = 0; n < cols; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) b[n].set(i, columns[(at + 4 * i) * panel_stride + 8 * n]);
#pragma unroll
      for (int m = 0; m < M; m += cols) {
        Split<Terms, 4> left;
#pragma unroll
        for (int i = 0; i < 4; ++i)
          left.set(i, rows[(m * 16 + i % 2 * 8) * stride + at + i / 2 * 4]);
#pragma unroll
        for (int n = 0; n < cols; ++n) {
          auto& to = Terms == 3 ? parts[chains - 1][m + n] : sums[m + n];
          if constexpr (Terms == 3) {
            mma_tf32(parts[0][m + n], left.small, b[n].big[0], b[n].big[1]);
            mma_tf32(parts[chains / 2][m + n], left.big, b[n].small[0], b[n].small[1]);
          }
          mma_tf32(to, left.big, b[n].big[0], b[n].big[1]);
        }
      }
    }
    if constexpr (Terms == 3)
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if constexpr (chains == 3) parts[2][m][c] += parts[0][m][c] + parts[1][m][c];
          sums[m][c] += parts[chains - 1][m][c];
        }
  }
}

/// Sets the sums to a bias, 0 from column n on.
template <int M>
__device__ inline void start(float (&sums)[M][4], const float* bias, int n0, int n) {
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const int col = n0 + col_of<M>(m);
    const float b[2] = {col < n ? bias[col] : 0.f, col + 1 < n ? bias[col + 1] : 0.f};
#pragma unroll
    for (int c = 0; c < 4; ++c) sums[m][c] = b[c % 2];
  }
}

/// Calls f with the row tiles of a block and the terms of matmul_precision() as constants. Few rows
/// go 16 to a block: the time is that of one block then.
template <class F>
void with_tile_and_terms(index_t rows, index_t hid, F&& f) {
  const auto with_rows = [&](auto m) {
    if (matmul_precision() == MatmulPrecision::tf32)
      f(m, std::integral_constant<int, 1>{});
    else
      f(m, std::integral_constant<int, 3>{});
  };
  if (rows < index_t{multiprocessors()} * 32 || tile_bytes(2, int(hid)) > max_shared_bytes())
    with_rows(std::integral_constant<int, 1>{});
  else
    with_tile(rows, hid, tile_bytes, with_rows);
}

}  // namespace flr::cuda::mlp::tf32
