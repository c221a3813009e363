// decode_backward.cu for floats: gradients of y[n] = Σₘ P[n,m] z[m], P = softmax over m of
// scale · k[n]·q[m]:
//   P = exp(S − lse[n]), dS = P ∘ (dy zᵀ − δ[n]), δ[n] = Σ dy[n] ∘ y[n];
//   dk[n] = scale · Σₘ dS q, dq[m] = scale · Σₙ dS k, dz[m] = Σₙ P dy.
//
// The same walk: the warps of a head, each with some latents, pass over the tokens together, 16 a
// step. Scores are taken as latents × tokens; dk needs dS transposed, two movmatrix an 8×8 tile. −δ
// enters as what the product dy zᵀ is added to.
#include "common/resident_blocks.hpp"
#include "flare/token_sums_f32.cuh"

namespace flr::cuda::flare {
namespace {

/// One launch: groups of 16 latents from `group` on.
struct Pass {
  DecodeBackwardOf<float> p;
  TokenGradF32 token[1];  ///< dk
  int group = 0, warps = 1, heads = 1;
  float *dq = nullptr, *dz = nullptr;  ///< parts [B,H,splits,M,D]
};

/// A group in shared memory: q, z, q transposed.
template <int D>
inline constexpr int group_quads = 3 * rows_quads<D>;
template <int D>
inline constexpr int warp_bytes = LatentsF32<D>::groups* group_quads<D>* int(sizeof(float4)) +
                                  2 * LatentsF32<D>::pairs* int(sizeof(float2));

template <int Terms, int D>
__device__ void load_group(float4* at, const DecodeBackwardOf<float>& p, int b, int h, int group) {
  constexpr int R = rows_quads<D>;
  const index_t row = index_t{group} * 16;
  const auto q = rounded<Terms, D>(load_rows<D>(p.q.head(b, h), p.q.s.row, row, p.n.M));
  const auto z = rounded<Terms, D>(load_rows<D>(p.z.head(b, h), p.z.s.row, row, p.n.M));
  save_shared<D>(at, q);
  save_shared<D>(at + R, z);
  save_shared<D>(at + 2 * R, transposed(q));
}

template <int Terms, int D>
__global__ void __launch_bounds__(256) decode_backward_kernel(Pass pass) {
  using L = LatentsF32<D>;
  constexpr int G = L::groups, R = rows_quads<D>;
  extern __shared__ float4 shared[];
  const DecodeBackwardOf<float>& p = pass.p;
  const int warps = pass.warps, warp = threadIdx.x / 32, w = warp % warps;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int head_blocks = (p.n.H + pass.heads - 1) / pass.heads;
  const int b = blockIdx.y / head_blocks;
  const int h = blockIdx.y % head_blocks * pass.heads + warp / warps;
  const bool busy = h < p.n.H;
  const int M = p.n.M, groups = (M + 15) / 16, first_group = pass.group + w;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, stride = index_t{gridDim.x} * L::tokens;

  float4* const own = shared + warp * G * group_quads<D>;
  float2* const left = reinterpret_cast<float2*>(shared + pass.heads * warps * G * group_quads<D>);
  const int left_all = pass.heads * warps * L::pairs;
  if (busy)
#pragma unroll
    for (int i = 0; i < G; ++i)
      load_group<Terms, D>(own + i * group_quads<D>, p, b, h, first_group + i * warps);
  __syncwarp();

  Sums<D> dq[G] = {}, dz[G] = {};
  const float* lse_row = p.lse + (index_t{b} * p.n.H + h) * N;
  bool odd = false;
  for (index_t first = blockIdx.x * index_t{L::tokens}; first < N; first += stride, odd = !odd) {
    Sums<D> dk = {};
    if (busy) {
      const auto k = rounded<Terms, D>(load_rows<D>(p.k.head(b, h), p.k.s.row, first, N));
      const auto dy = rounded<Terms, D>(load_rows<D>(p.dy.head(b, h), p.dy.s.row, first, N));
      float lse[4], delta[4];  // of tokens 2t, 2t + 1, 8 + 2t, 8 + 2t + 1; delta negated
      {
        const auto y = load_rows<D>(p.y.head(b, h), p.y.s.row, first, N);
        const float lo = quad_sum(dot<D>(dy.half[0], y.half[0]));
        const float hi = quad_sum(dot<D>(dy.half[1], y.half[1]));
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const index_t n = first + e / 2 * 8 + 2 * t + e % 2;
          lse[e] = n < N ? lse_row[n] * log2_e : INFINITY;  // a weight of 0
          delta[e] = -__shfl_sync(0xffffffffu, e < 2 ? lo : hi, 8 * t + 4 * (e % 2));
        }
      }
      const auto kc = transposed(k), dyc = transposed(dy);
      const index_t next = first + stride, next_end = next + L::tokens < N ? next + L::tokens : N;
      prefetch_row(p.k.head(b, h), p.k.s.row, next, next_end);
      prefetch_row(p.dy.head(b, h), p.dy.s.row, next, next_end);
      prefetch_row(p.y.head(b, h), p.y.s.row, next, next_end);
#pragma unroll
      for (int i = 0; i < G; ++i) {
        const int group = first_group + i * warps;
        if (group >= groups) continue;
        const float4* at = own + i * group_quads<D>;
        const float pad0 = group * 16 + g < M ? 0.f : -INFINITY;
        const float pad1 = group * 16 + g + 8 < M ? 0.f : -INFINITY;
        float s[2][4], ds[2][4];
        Operand<Terms, 4> weight[2], slope[2], turned[2];
        {
          const auto q = load_shared<D>(at), z = load_shared<D>(at + R);
#pragma unroll
          for (int x = 0; x < 2; ++x) {
            const float d0 = delta[2 * x], d1 = delta[2 * x + 1];
            scores<Terms, D>(s[x], q, k.half[x], pad0, pad0, pad1, pad1);
            scores<Terms, D>(ds[x], z, dy.half[x], d0, d1, d0, d1);
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              s[x][e] = exp2_fast(fmaf(s[x][e], scale, -lse[2 * x + e % 2]));
              ds[x][e] = rounded<Terms>(ds[x][e] * s[x][e]);
              s[x][e] = rounded<Terms>(s[x][e]);
            }
            weight[x] = weights<Terms>(s[x]);
          }
        }
        accumulate<Terms, D>(dz[i], weight, dyc.half);
#pragma unroll
        for (int x = 0; x < 2; ++x) {
          slope[x] = weights<Terms>(ds[x]);
          turned[x] = transposed_weights<Terms>(ds[0], ds[1], x);
        }
        accumulate<Terms, D>(dq[i], slope, kc.half);
        accumulate<Terms, D>(dk, turned, load_shared<D>(at + 2 * R).half);
      }
    }
    if (warps == 1) {
      if (busy) put_tokens<D>(pass.token[0], p.n, b, h, first, dk);
    } else {  // the two halves of `left` take turns: one barrier a step is enough
      float2* const here = left + (odd ? left_all : 0);
      leave_tokens<D>(here + warp * L::pairs, dk);
      __syncthreads();
      if (busy)
        collect_tokens<D>(pass.token, p.n, b, h, first, here + (warp - w) * L::pairs, w, warps);
    }
  }
  if (!busy) return;
  const index_t part = ((index_t{b} * p.n.H + h) * gridDim.x + blockIdx.x) * M * D;
#pragma unroll
  for (int i = 0; i < G; ++i) {
    const int m = (first_group + i * warps) * 16;
    if (pass.dq) put_part_f32<D>(pass.dq + part, m, M, dq[i]);
    if (pass.dz) put_part_f32<D>(pass.dz + part, m, M, dz[i]);
  }
}

}  // namespace

void decode_backward(const DecodeBackwardOf<float>& p) {
  with_width_and_terms(p.n.D, [&]<int D, int Terms>() {
    const auto kernel = decode_backward_kernel<Terms, D>;
    const BackwardPlanF32 plan = backward_plan_f32<D>(p.n, warp_bytes<D>);
    const int shared = plan.heads * plan.warps * warp_bytes<D>;
    const index_t others = index_t{p.n.B} * ceil_div(p.n.H, plan.heads);
    allow_shared(kernel, shared, "flare_decode_backward");
    const unsigned splits = resident_blocks(kernel, plan.threads(), shared, others,
                                            ceil_div(p.n.N, LatentsF32<D>::tokens));
    const index_t parts = index_t{p.n.B} * p.n.H * splits * p.n.M * D;
    const Scratch<float> dq(p.dq.wanted() ? parts : 0), dz(p.dz.wanted() ? parts : 0);
    for (int i = 0; i < plan.passes; ++i) {
      const Pass pass{p,
                      {{p.dk, p.n.scale, i > 0}},
                      i * plan.warps * LatentsF32<D>::groups,
                      plan.warps,
                      plan.heads,
                      p.dq.wanted() ? dq.data() : nullptr,
                      p.dz.wanted() ? dz.data() : nullptr};
      kernel<<<dim3(splits, unsigned(others)), plan.threads(), shared, stream()>>>(pass);
      check_launch("flare_decode_backward");
    }
    reduce_partials(p.n, dq, int(splits), p.n.scale, p.dq);
    reduce_partials(p.n, dz, int(splits), 1, p.dz);
  });
}

}  // namespace flr::cuda::flare
