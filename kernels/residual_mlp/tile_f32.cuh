// A block's rows of a float residual MLP, in shared memory, through layers whose weights pass by in
// panels of 64 columns. True float products (FFMA).
//
// 256 threads as 16 × 16: thread (i, j) owns rows i, i+16, … (M of them) and columns 4j … 4j+3 of a
// panel. For four steps of the summed axis it reads 4 + M vectors of 16 bytes and does 16 M
// products. Sixteen threads read the same row, which costs one access; rows are hid + 4 apart, so
// that the two rows of a warp lie in different banks.
#pragma once

#include "common/device.cuh"

namespace flr::cuda::mlp {

constexpr int tile_threads = 256;
constexpr int panel = 64;  ///< columns of a panel

__device__ inline int tile_row(int i) {
  return int(threadIdx.x) / 16 + i * 16;
}
__device__ inline int tile_col() {
  return int(threadIdx.x) % 16 * 4;
}

__host__ __device__ inline int row_stride(int hid) {
  return hid + 4;
}
/// Two sets of rows and a panel.
inline int tile_bytes(int m, int hid) {
  return (2 * m * 16 * row_stride(hid) + hid * panel) * int(sizeof(float));
}

__device__ inline bool in_fours(const float* x, int cols) {
  return cols % 4 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
}
/// Four neighbours of a row of `cols`; 0 from column `cols` on.
__device__ inline float4 load_four(const float* row, int col, int cols, bool fours) {
  if (fours)
    return col < cols ? *reinterpret_cast<const float4*>(row + col) : make_float4(0, 0, 0, 0);
  return make_float4(col < cols ? row[col] : 0, col + 1 < cols ? row[col + 1] : 0,
                     col + 2 < cols ? row[col + 2] : 0, col + 3 < cols ? row[col + 3] : 0);
}
__device__ inline void store_four(float* row, int col, int cols, bool fours, const float (&v)[4],
                                  bool accumulate) {
  if (fours && col < cols) {
    auto* at = reinterpret_cast<float4*>(row + col);
    const float4 old = accumulate ? *at : make_float4(0, 0, 0, 0);
    *at = make_float4(old.x + v[0], old.y + v[1], old.z + v[2], old.w + v[3]);
  } else {
#pragma unroll
    for (int c = 0; c < 4; ++c)
      if (col + c < cols) put<float>(row + col + c, v[c], accumulate);
  }
}

/// Rows first … first + 16 M − 1 of x [rows, cols], 0 outside and up to a multiple of 4 columns.
template <int M>
__device__ void load_tile(float* to, int stride, const float* x, index_t first, index_t rows,
                          int cols) {
  const int fours_in_row = (cols + 3) / 4;
  const bool fours = in_fours(x, cols);
  for (int i = threadIdx.x; i < M * 16 * fours_in_row; i += tile_threads) {
    const int row = i / fours_in_row, col = i % fours_in_row * 4;
    const float4 v = first + row < rows ? load_four(x + (first + row) * cols, col, cols, fours)
                                        : make_float4(0, 0, 0, 0);
    *reinterpret_cast<float4*>(to + row * stride + col) = v;
  }
}

/// The panel of columns n0 … of the right operand, [k][64], from w: Wᵀ of w [n,k], or w [k,n]
/// itself. Waits for everybody before and after.
template <bool Transposed>
__device__ void load_panel(float* to, const float* w, int n, int k, int n0) {
  const int k_pad = (k + 3) / 4 * 4;
  __syncthreads();
  if constexpr (Transposed) {
    const bool fours = in_fours(w, k);
    for (int i = threadIdx.x; i < k_pad / 4 * panel; i += tile_threads) {
      const int col = i % panel, at = i / panel * 4;
      float4 v = make_float4(0, 0, 0, 0);
      if (n0 + col < n) v = load_four(w + index_t{n0 + col} * k, at, k, fours);
      to[at * panel + col] = v.x, to[(at + 1) * panel + col] = v.y;
      to[(at + 2) * panel + col] = v.z, to[(at + 3) * panel + col] = v.w;
    }
  } else {
    const bool fours = in_fours(w, n);
    for (int i = threadIdx.x; i < k_pad * (panel / 4); i += tile_threads) {
      const int col = i % (panel / 4) * 4, at = i / (panel / 4);
      float4 v = make_float4(0, 0, 0, 0);
      if (at < k) v = load_four(w + index_t{at} * n, n0 + col, n, fours);
      *reinterpret_cast<float4*>(to + at * panel + col) = v;
    }
  }
  __syncthreads();
}

/// sums += this thread's rows of a times its columns of the panel, over k.
template <int M>
__device__ inline void multiply(float (&sums)[M][4], const float* a, int stride,
                                const float* panel_at, int k) {
  const float* right = panel_at + tile_col();
#pragma unroll 2
  for (int i = 0; i < k; i += 4) {
    float4 w[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) w[j] = *reinterpret_cast<const float4*>(right + (i + j) * panel);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const float4 x = *reinterpret_cast<const float4*>(a + tile_row(m) * stride + i);
      const float left[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        sums[m][0] = fmaf(left[j], w[j].x, sums[m][0]);
        sums[m][1] = fmaf(left[j], w[j].y, sums[m][1]);
        sums[m][2] = fmaf(left[j], w[j].z, sums[m][2]);
        sums[m][3] = fmaf(left[j], w[j].w, sums[m][3]);
      }
    }
  }
}

/// Sets the accumulators to a bias (0 from column n on), or to rows in shared memory, or to 0.
template <int M>
__device__ inline void start(float (&sums)[M][4], const float* bias, int n0, int n) {
  const int col = n0 + tile_col();
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const float b = col + c < n ? bias[col + c] : 0.f;
#pragma unroll
    for (int m = 0; m < M; ++m) sums[m][c] = b;
  }
}
template <int M>
__device__ inline void start(float (&sums)[M][4], const float* rows, int stride, int n0, int n,
                             bool add) {
  const int col = n0 + tile_col();
#pragma unroll
  for (int m = 0; m < M; ++m) {
    float4 v = make_float4(0, 0, 0, 0);
    if (add && col < n) v = *reinterpret_cast<const float4*>(rows + tile_row(m) * stride + col);
    sums[m][0] = v.x, sums[m][1] = v.y, sums[m][2] = v.z, sums[m][3] = v.w;
  }
}

/// Rows of a tile in sixteenths (32, 64 or 128 rows), as a constant: short where rows are few, so
/// that more multiprocessors work; long where weights are to be reused and two blocks still fit.
/// `bytes` of them and hid must not be more than a block has.
template <class F>
void with_tile(index_t rows, index_t hid, int (*bytes)(int, int), F&& f) {
  const auto fits = [&](int m) { return bytes(m, int(hid)) <= max_shared_bytes(); };
  if (hid <= 64 && rows >= 132 * 128 && fits(8)) return f(std::integral_constant<int, 8>{});
  if (rows >= 132 * 64 && fits(4)) return f(std::integral_constant<int, 4>{});
  f(std::integral_constant<int, 2>{});
}

}  // namespace flr::cuda::mlp
