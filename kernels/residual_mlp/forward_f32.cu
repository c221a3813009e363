// The residual MLP's forward pass in float: all layers of a tile of rows in shared memory.
//
//   a₀ = act(W₀x + b₀) (+ x), aᵢ = aᵢ₋₁ + act(Wᵢaᵢ₋₁ + bᵢ), y = W_{L+1}a_L + b_{L+1} (+ a_L)
// Bound by FFMA: 41 GFLOP at C = 64, L = 3 and a million rows, 0.65 ms at an H100's 64 TFLOP/s; the
// 512 MB that are read and written would take 0.17 ms. A block takes 32, 64 or 128 rows; weights
// come from L2 in panels of 64 columns, which at 128 rows is one 16-byte load for 32 products.
#include "residual_mlp/activation.cuh"
#include "residual_mlp/entries.hpp"
#include "residual_mlp/tile_f32.cuh"

namespace flr::cuda::mlp {
namespace {

template <int M, bool Gelu>
__global__ void __launch_bounds__(tile_threads)
    forward_kernel(const __grid_constant__ ResidualMlpParams<float> p) {
  extern __shared__ float4 shared[];
  const int in = int(p.in), hid = int(p.hid), out = int(p.out), stride = row_stride(hid);
  float* a = reinterpret_cast<float*>(shared);
  float* next = a + M * 16 * stride;
  float* right = next + M * 16 * stride;
  const bool fours = in_fours(p.y, out);
  for (index_t first = blockIdx.x * index_t{M * 16}; first < p.rows;
       first += gridDim.x * index_t{M * 16}) {
    __syncthreads();  // the last tile's rows have been read
    load_tile<M>(a, stride, p.x, first, p.rows, in);
    for (int l = 0; l <= p.layers; ++l) {
      const int k = l ? hid : in;
      const bool skip = l > 0 || p.residual_in;
      for (int n0 = 0; n0 < hid; n0 += panel) {
        load_panel<true>(right, p.w[l], hid, k, n0);
        float sums[M][4], old[M][4];
        start<M>(sums, p.b[l], n0, hid);
        multiply<M>(sums, a, stride, right, k);
        if (n0 + tile_col() >= hid) continue;
        start<M>(old, a, stride, n0, hid, skip);
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
          for (int c = 0; c < 4; ++c)
            sums[m][c] = old[m][c] + activate<false, Gelu>(p.act, sums[m][c]).value;
          *reinterpret_cast<float4*>(next + tile_row(m) * stride + n0 + tile_col()) =
              make_float4(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
        }
      }
      float* const done = a;
      a = next, next = done;
    }
    for (int n0 = 0; n0 < out; n0 += panel) {
      load_panel<true>(right, p.w[p.layers + 1], out, hid, n0);
      float sums[M][4], old[M][4];
      start<M>(sums, p.b[p.layers + 1], n0, out);
      multiply<M>(sums, a, stride, right, hid);
      start<M>(old, a, stride, n0, out, p.residual_out);
#pragma unroll
      for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[m][c] += old[m][c];
        const index_t row = first + tile_row(m);
        if (row < p.rows) store_four(p.y + row * out, n0 + tile_col(), out, fours, sums[m], false);
      }
    }
  }
}

template <int M, bool Gelu>
void launch(const ResidualMlpParams<float>& p) {
  const auto kernel = forward_kernel<M, Gelu>;
  const int bytes = tile_bytes(M, int(p.hid));
  allow_shared(kernel, bytes, "residual_mlp");
  kernel<<<unsigned(smaller(ceil_div(p.rows, M * 16), 1 << 30)), tile_threads, bytes, stream()>>>(
      p);
  check_launch("residual_mlp");
}

}  // namespace

void forward_f32(const ResidualMlpParams<float>& p) {
  with_tile(p.rows, p.hid, tile_bytes, [&](auto m) {
    if (p.act == Activation::gelu_tanh)
      launch<m(), true>(p);
    else
      launch<m(), false>(p);
  });
}

}  // namespace flr::cuda::mlp
