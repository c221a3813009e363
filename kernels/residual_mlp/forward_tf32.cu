// The residual MLP's forward pass in float on the tensor cores: forward_f32.cu with products of
// tf32 parts (tile_tf32.cuh), for hidden widths that are multiples of 8.
//
// Bound by splitting operands and by the products, about alike. Few rows are cut into tiles of 16.
#include "residual_mlp/activation.cuh"
#include "residual_mlp/entries.hpp"
#include "residual_mlp/tile_tf32.cuh"

namespace flr::cuda::mlp {
namespace {

template <int M, int Terms, bool Gelu>
__global__ void __launch_bounds__(tile_threads)
    forward_kernel(const __grid_constant__ ResidualMlpParams<float> p) {
  extern __shared__ float4 shared[];
  const int in = int(p.in), hid = int(p.hid), out = int(p.out), stride = row_stride(hid);
  float* a = reinterpret_cast<float*>(shared);
  float* next = a + M * 16 * stride;
  float* right = next + M * 16 * stride;
  // Where a block has little to compute, the next layer's weights are fetched meanwhile.
  const bool ahead = M == 1 && hid <= panel;
  tf32::PanelAhead<true> weights;
  for (index_t first = blockIdx.x * index_t{M * 16}; first < p.rows;
       first += gridDim.x * index_t{M * 16}) {
    __syncthreads();  // the last tile's rows have been read
    tf32::load_tile<M>(a, stride, p.x, first, p.rows, in);
    for (int l = 0; l <= p.layers + 1; ++l) {
      const bool last = l == p.layers + 1;
      const int k = l ? hid : in, n = last ? out : hid;
      const bool skip = last ? p.residual_out : l > 0 || p.residual_in;
      for (int n0 = 0; n0 < n; n0 += panel) {
        if (ahead && l > 0 && n0 == 0)
          weights.place(right, k);
        else
          tf32::load_panel<true>(right, p.w[l], n, k, n0);
        if (ahead && !last && n0 == 0)
          weights.fetch(p.w[l + 1], l == p.layers ? out : hid, hid, 0);
        float sums[M][4];
        tf32::start<M>(sums, p.b[l], n0, n);
        tf32::multiply<Terms, M>(sums, a, stride, right, k);
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const int row = tf32::row_of<M>(m, c / 2), col = n0 + tf32::col_of<M>(m) + c % 2;
            if (col >= n) continue;
            const float old = skip ? a[row * stride + col] : 0.f;
            if (!last)
              next[row * stride + col] = old + activate<false, Gelu>(p.act, sums[m][c]).value;
            else if (first + row < p.rows)
              p.y[(first + row) * out + col] = old + sums[m][c];
          }
      }
      float* const done = a;
      a = next, next = done;
    }
  }
}

template <int M, int Terms, bool Gelu>
void launch(const ResidualMlpParams<float>& p) {
  const auto kernel = forward_kernel<M, Terms, Gelu>;
  const int bytes = tf32::tile_bytes(M, int(p.hid));
  allow_shared(kernel, bytes, "residual_mlp");
  kernel<<<unsigned(smaller(ceil_div(p.rows, M * 16), 1 << 30)), tile_threads, bytes, stream()>>>(
      p);
  check_launch("residual_mlp");
}

template <int M, int Terms>
void launch(const ResidualMlpParams<float>& p) {
  if (p.act == Activation::gelu_tanh)
    launch<M, Terms, true>(p);
  else
    launch<M, Terms, false>(p);
}

}  // namespace

void forward_tf32(const ResidualMlpParams<float>& p) {
  tf32::with_tile_and_terms(p.rows, p.hid, [&](auto m, auto terms) { launch<m(), terms()>(p); });
}

}  // namespace flr::cuda::mlp
