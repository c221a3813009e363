// The float backward pass of a chunk of rows on the tensor cores: chain_f32.cu with products of
// tf32 parts (tile_tf32.cuh), for hidden widths that are multiples of 8.
//
//   dP_i = dA_i ∘ act'(P_i), dA_{i-1} = dA_i + dP_i W_i, dx = dP_0 W_0 (+ dA_0)
// A_0 … A_L and dP_0 … dP_L go to global memory for the weight gradients; dP's place holds the
// slopes until then, written and read by the same thread.
#include "residual_mlp/activation.cuh"
#include "residual_mlp/backward_f32.cuh"
#include "residual_mlp/tile_tf32.cuh"

namespace flr::cuda::mlp {
namespace {

__device__ inline float2& pair(float* at) {
  return *reinterpret_cast<float2*>(at);
}

template <int M, int Terms, bool Gelu>
__global__ void __launch_bounds__(tile_threads)
    chain_kernel(const __grid_constant__ ResidualMlpBackwardParams<float> p, ChunkRows chunk) {
  extern __shared__ float4 shared[];
  const int in = int(p.in), hid = int(p.hid), out = int(p.out), stride = row_stride(hid);
  float* a = reinterpret_cast<float*>(shared);
  float* next = a + M * 16 * stride;
  float* const right = next + M * 16 * stride;
  const index_t within = blockIdx.x * index_t{M * 16}, first = chunk.first + within;
  // This thread's two columns of half h of its fragment m, in shared memory and in the chunk.
  const auto at = [&](float* rows, int m, int h, int n0) {
    return rows + tf32::row_of<M>(m, h) * stride + n0 + tf32::col_of<M>(m);
  };
  const auto in_chunk = [&](float* of, int l, int m, int h, int n0) {
    return of + (l * chunk.capacity + within + tf32::row_of<M>(m, h)) * hid + n0 +
           tf32::col_of<M>(m);
  };

  // Where a block has little to compute, the next layer's weights are fetched meanwhile.
  const bool ahead = M == 1 && hid <= panel;
  tf32::PanelAhead<true> weights;
  tf32::PanelAhead<false> back;
  tf32::load_tile<M>(a, stride, p.x, first, p.rows, in);
  for (int l = 0; l <= p.layers; ++l) {
    const int k = l ? hid : in;
    const bool skip = l > 0 || p.residual_in;
    for (int n0 = 0; n0 < hid; n0 += panel) {
      if (ahead && l > 0)
        weights.place(right, k);
      else
        tf32::load_panel<true>(right, p.w[l], hid, k, n0);
      if (ahead && l < p.layers) weights.fetch(p.w[l + 1], hid, hid, 0);
      float sums[M][4];
      tf32::start<M>(sums, p.b[l], n0, hid);
      tf32::multiply<Terms, M>(sums, a, stride, right, k);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        if (n0 + tf32::col_of<M>(m) >= hid) continue;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const ValueSlope u = activate<false, Gelu>(p.act, sums[m][2 * h]);
          const ValueSlope v = activate<false, Gelu>(p.act, sums[m][2 * h + 1]);
          float2 value = {u.value, v.value};
          if (skip) value.x += at(a, m, h, n0)[0], value.y += at(a, m, h, n0)[1];
          pair(at(next, m, h, n0)) = value;
          pair(in_chunk(chunk.activations, l, m, h, n0)) = value;
          pair(in_chunk(chunk.gradients, l, m, h, n0)) = float2{u.slope, v.slope};
        }
      }
    }
    float* const done = a;
    a = next, next = done;
  }

  // `next` holds dP of layer l, at first dy; `a` holds dA.
  __syncthreads();
  tf32::load_tile<M>(next, stride, p.dy, first, p.rows, out);
  for (int l = p.layers + 1; l > 0; --l) {
    const bool last = l == p.layers + 1;
    const int k = last ? out : hid;
    float* const added = last ? next : a;
    const bool skip = !last || p.residual_out;
    for (int n0 = 0; n0 < hid; n0 += panel) {
      if (ahead && !last)
        back.place(right, k);
      else
        tf32::load_panel<false>(right, p.w[l], hid, k, n0);
      if (ahead) back.fetch(p.w[l - 1], l > 1 ? hid : in, hid, 0);
      float sums[M][4] = {};
      tf32::multiply<Terms, M>(sums, next, stride, right, k);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        if (n0 + tf32::col_of<M>(m) >= hid) continue;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float2 da = {sums[m][2 * h], sums[m][2 * h + 1]};
          if (skip) da.x += at(added, m, h, n0)[0], da.y += at(added, m, h, n0)[1];
          pair(at(a, m, h, n0)) = da;
        }
      }
    }
    __syncthreads();  // products with the last dP are done
    for (int n0 = 0; n0 < hid; n0 += panel)
#pragma unroll
      for (int m = 0; m < M; ++m) {
        if (n0 + tf32::col_of<M>(m) >= hid) continue;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float2& kept = pair(in_chunk(chunk.gradients, l - 1, m, h, n0));
          const float2 da = pair(at(a, m, h, n0));
          const float2 dp = {da.x * kept.x, da.y * kept.y};
          pair(at(next, m, h, n0)) = dp;
          kept = dp;
        }
      }
  }
  if (p.dx_mode == GradMode::ignore) return;
  for (int n0 = 0; n0 < in; n0 += panel) {
    if (ahead && n0 == 0)
      back.place(right, hid);
    else
      tf32::load_panel<false>(right, p.w[0], in, hid, n0);
    float sums[M][4] = {};
    tf32::multiply<Terms, M>(sums, next, stride, right, hid);
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int col = n0 + tf32::col_of<M>(m) + c % 2;
        const index_t row = first + tf32::row_of<M>(m, c / 2);
        if (col >= in || row >= p.rows) continue;
        const float da = p.residual_in ? at(a, m, c / 2, n0)[c % 2] : 0.f;
        put<float>(p.dx + row * in + col, da + sums[m][c], p.dx_mode == GradMode::accumulate);
      }
  }
}

template <int M, int Terms, bool Gelu>
void launch(const ResidualMlpBackwardParams<float>& p, const ChunkRows& chunk) {
  const auto kernel = chain_kernel<M, Terms, Gelu>;
  const int bytes = tf32::tile_bytes(M, int(p.hid));
  allow_shared(kernel, bytes, "residual_mlp_backward");
  kernel<<<unsigned(ceil_div(chunk.rows, M * 16)), tile_threads, bytes, stream()>>>(p, chunk);
  check_launch("residual_mlp_backward");
}

template <int M, int Terms>
void launch(const ResidualMlpBackwardParams<float>& p, const ChunkRows& chunk) {
  if (p.act == Activation::gelu_tanh)
    launch<M, Terms, true>(p, chunk);
  else
    launch<M, Terms, false>(p, chunk);
}

}  // namespace

void chain_tf32(const ResidualMlpBackwardParams<float>& p, const ChunkRows& chunk) {
  // Eight row tiles would not fit in registers.
  tf32::with_tile_and_terms(
      p.rows, p.hid, [&](auto m, auto terms) { launch<m() < 4 ? m() : 4, terms()>(p, chunk); });
}

}  // namespace flr::cuda::mlp
