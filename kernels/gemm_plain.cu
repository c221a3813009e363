// C = alpha · op(A) op(B) + beta · C for any sizes, strides and alignment.
//
// Every block owns a 32×32 tile of C and runs through k in steps of 32, which it brings into shared
// memory; a thread owns four elements of the tile. Bound by shared memory, at about a tenth of what
// cuBLASLt reaches: it serves k = 0 and the rare product that cuBLASLt refuses. Sums go straight
// through k, so the result depends on sizes alone.
#include "common/device.cuh"
#include "gemm_plain.hpp"

namespace flr::cuda {

namespace {

constexpr int tile = 32, tile_threads = 256;

template <class T, class Out>
__global__ void __launch_bounds__(tile_threads)
    plain_kernel(GemmParams<T> p, Out* c, const Out* bias, index_t row_tiles, index_t col_tiles) {
  using C = compute_t<T>;
  __shared__ C left[tile][tile + 1], right[tile][tile + 1];
  const int tx = threadIdx.x % tile, ty = threadIdx.x / tile;  // ty < 8
  const index_t tiles = row_tiles * col_tiles, all = tiles * p.batch[0] * p.batch[1];
  for (index_t job = blockIdx.x; job < all; job += gridDim.x) {
    const index_t batch = job / tiles, t = job % tiles;
    const index_t b0 = batch / p.batch[1], b1 = batch % p.batch[1];
    const index_t i0 = t / col_tiles * tile, j0 = t % col_tiles * tile;
    const T* a = p.a + b0 * p.batch_a[0] + b1 * p.batch_a[1];
    const T* b = p.b + b0 * p.batch_b[0] + b1 * p.batch_b[1];
    Out* out = c + b0 * p.batch_c[0] + b1 * p.batch_c[1];
    C sum[4] = {};
    for (index_t k0 = 0; k0 < p.k; k0 += tile) {
      // tx runs along the axis that is contiguous in memory.
#pragma unroll
      for (int r = 0; r < tile; r += tile_threads / tile) {
        const index_t i = p.trans_a ? i0 + tx : i0 + ty + r, ka = p.trans_a ? k0 + ty + r : k0 + tx;
        const bool in_a = i < p.m && ka < p.k;
        const C x = in_a ? to_compute(a[p.trans_a ? ka * p.lda + i : i * p.lda + ka]) : C(0);
        if (p.trans_a)
          left[tx][ty + r] = x;
        else
          left[ty + r][tx] = x;
        const index_t j = p.trans_b ? j0 + ty + r : j0 + tx, kb = p.trans_b ? k0 + tx : k0 + ty + r;
        const bool in_b = j < p.n && kb < p.k;
        const C y = in_b ? to_compute(b[p.trans_b ? j * p.ldb + kb : kb * p.ldb + j]) : C(0);
        if (p.trans_b)
          right[tx][ty + r] = y;
        else
          right[ty + r][tx] = y;
      }
      __syncthreads();
#pragma unroll 8
      for (int q = 0; q < tile; ++q)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] += left[ty + 8 * e][q] * right[q][tx];
      __syncthreads();
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const index_t i = i0 + ty + 8 * e, j = j0 + tx;
      if (i >= p.m || j >= p.n) continue;
      C y = p.alpha * sum[e];
      if (bias) y += to_compute(bias[j]);
      if (p.beta != C(0)) y += p.beta * to_compute(out[i * p.ldc + j]);  // 0 does not read C
      out[i * p.ldc + j] = from_compute<Out>(y);
    }
  }
}

}  // namespace

template <class T, class Out>
void multiply_plain(const GemmParams<T>& p, Out* c, const Out* bias) {
  const index_t row_tiles = ceil_div(p.m, tile), col_tiles = ceil_div(p.n, tile);
  const index_t jobs = row_tiles * col_tiles * p.batch[0] * p.batch[1];
  if (jobs == 0) return;
  plain_kernel<T, Out>
      <<<grid_for(jobs, 1), tile_threads, 0, stream()>>>(p, c, bias, row_tiles, col_tiles);
  check_launch("gemm (plain)");
}

template void multiply_plain(const GemmParams<float>&, float*, const float*);
template void multiply_plain(const GemmParams<double>&, double*, const double*);
template void multiply_plain(const GemmParams<bf16>&, bf16*, const bf16*);
template void multiply_plain(const GemmParams<bf16>&, float*, const float*);

}  // namespace flr::cuda
