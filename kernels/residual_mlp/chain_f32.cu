// The float backward pass of a chunk of rows: forward again, then back through the layers.
//
//   dP_i = dA_i ∘ act'(P_i), dA_{i-1} = dA_i + dP_i W_i, dx = dP_0 W_0 (+ dA_0)
// Bound by FFMA, twice the forward pass. A_0 … A_L and dP_0 … dP_L go to global memory for the
// weight gradients; dP's place holds the slopes until then, written and read by the same thread.
#include "residual_mlp/activation.cuh"
#include "residual_mlp/backward_f32.cuh"
#include "residual_mlp/tile_f32.cuh"

namespace flr::cuda::mlp {
namespace {

template <int M, bool Gelu>
__global__ void __launch_bounds__(tile_threads)
    chain_kernel(const __grid_constant__ ResidualMlpBackwardParams<float> p, ChunkRows chunk) {
  extern __shared__ float4 shared[];
  const int in = int(p.in), hid = int(p.hid), out = int(p.out), stride = row_stride(hid);
  const int last = p.layers + 1;
  float* a = reinterpret_cast<float*>(shared);
  float* next = a + M * 16 * stride;
  float* right = next + M * 16 * stride;
  const index_t within = blockIdx.x * index_t{M * 16}, first = chunk.first + within;
  // This thread's columns n0 … n0 + 3 of its m-th row, in shared memory and in the chunk.
  const auto at = [&](float* rows, int m, int n0) {
    return reinterpret_cast<float4*>(rows + tile_row(m) * stride + n0 + tile_col());
  };
  const auto in_chunk = [&](float* of, int l, int m, int n0) {
    return reinterpret_cast<float4*>(of + (l * chunk.capacity + within + tile_row(m)) * hid + n0 +
                                     tile_col());
  };

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
        float slope[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const ValueSlope v = activate<false, Gelu>(p.act, sums[m][c]);
          sums[m][c] = old[m][c] + v.value;
          slope[c] = v.slope;
        }
        const float4 value = make_float4(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
        *at(next, m, n0) = value;
        *in_chunk(chunk.activations, l, m, n0) = value;
        *in_chunk(chunk.gradients, l, m, n0) = make_float4(slope[0], slope[1], slope[2], slope[3]);
      }
    }
    float* const done = a;
    a = next, next = done;
  }

  // From here `a` holds dA of the layer at hand, `next` its dP.
  __syncthreads();
  load_tile<M>(next, stride, p.dy, first, p.rows, out);
  for (int n0 = 0; n0 < hid; n0 += panel) {
    load_panel<false>(right, p.w[last], hid, out, n0);
    float sums[M][4];
    start<M>(sums, next, stride, n0, hid, p.residual_out);
    multiply<M>(sums, next, stride, right, out);
    if (n0 + tile_col() >= hid) continue;
#pragma unroll
    for (int m = 0; m < M; ++m)
      *at(a, m, n0) = make_float4(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
  }
  for (int l = p.layers; l >= 0; --l) {
    __syncthreads();  // products with the last dP are done
    for (int n0 = 0; n0 + tile_col() < hid; n0 += panel)
#pragma unroll
      for (int m = 0; m < M; ++m) {
        const float4 da = *at(a, m, n0), slope = *in_chunk(chunk.gradients, l, m, n0);
        const float4 dp =
            make_float4(da.x * slope.x, da.y * slope.y, da.z * slope.z, da.w * slope.w);
        *at(next, m, n0) = dp;
        *in_chunk(chunk.gradients, l, m, n0) = dp;
      }
    if (l == 0) break;
    for (int n0 = 0; n0 < hid; n0 += panel) {
      load_panel<false>(right, p.w[l], hid, hid, n0);
      float sums[M][4];
      start<M>(sums, a, stride, n0, hid, true);
      multiply<M>(sums, next, stride, right, hid);
      if (n0 + tile_col() >= hid) continue;
#pragma unroll
      for (int m = 0; m < M; ++m)
        *at(a, m, n0) = make_float4(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
    }
  }
  if (p.dx_mode == GradMode::ignore) return;
  const bool fours = in_fours(p.dx, in);
  for (int n0 = 0; n0 < in; n0 += panel) {
    load_panel<false>(right, p.w[0], in, hid, n0);
    float sums[M][4];
    start<M>(sums, a, stride, n0, in, p.residual_in);
    multiply<M>(sums, next, stride, right, hid);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const index_t row = first + tile_row(m);
      if (row < p.rows)
        store_four(p.dx + row * in, n0 + tile_col(), in, fours, sums[m],
                   p.dx_mode == GradMode::accumulate);
    }
  }
}

template <int M, bool Gelu>
void launch(const ResidualMlpBackwardParams<float>& p, const ChunkRows& chunk) {
  const auto kernel = chain_kernel<M, Gelu>;
  const int bytes = tile_bytes(M, int(p.hid));
  allow_shared(kernel, bytes, "residual_mlp_backward");
  kernel<<<unsigned(ceil_div(chunk.rows, M * 16)), tile_threads, bytes, stream()>>>(p, chunk);
  check_launch("residual_mlp_backward");
}

}  // namespace

void chain_f32(const ResidualMlpBackwardParams<float>& p, const ChunkRows& chunk) {
  with_tile(p.rows, p.hid, tile_bytes, [&](auto m) {
    if (p.act == Activation::gelu_tanh)
      launch<m(), true>(p, chunk);
    else
      launch<m(), false>(p, chunk);
  });
}

}  // namespace flr::cuda::mlp
