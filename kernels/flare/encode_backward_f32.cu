// encode_backward.cu for floats: gradients of z[m] = Σₙ P[m,n] v[n], P = softmax over n of
// scale · q[m]·k[n]:
//   P = exp(S − lse[m]), dS = P ∘ (dz vᵀ − δ[m]), δ[m] = Σ dz[m] ∘ z[m];
//   dv[n] = Σₘ P dz, dk[n] = scale · Σₘ dS q, dq[m] = scale · Σₙ dS k.
//
// The same walk: the warps of a head, each with some latents, pass over the tokens together, 16 a
// step. Scores are taken as tokens × latents; dq needs dS transposed, two movmatrix an 8×8 tile.
// The transposed latents lie in shared memory beside the latents.
#include "common/resident_blocks.hpp"
#include "flare/token_sums_f32.cuh"

namespace flr::cuda::flare {
namespace {

/// One launch: groups of 16 latents from `group` on.
struct Pass {
  EncodeBackwardOf<float> p;
  TokenGradF32 token[2];  ///< dk, dv
  int group = 0, warps = 1, heads = 1;
  float* dq = nullptr;  ///< parts [B,H,splits,M,D]
};

/// A group in shared memory: q, dz, both transposed, then lse · log₂e and −δ of 16 latents each.
template <int D>
inline constexpr int group_quads = 4 * rows_quads<D> + 8;
template <int D>
inline constexpr int left_pairs = 2 * LatentsF32<D>::pairs;  ///< of one step
template <int D>
inline constexpr int warp_bytes = LatentsF32<D>::groups* group_quads<D>* int(sizeof(float4)) +
                                  2 * left_pairs<D>* int(sizeof(float2));

template <int Terms, int D>
__device__ void load_group(float4* at, const EncodeBackwardOf<float>& p, int b, int h, int group) {
  constexpr int R = rows_quads<D>;
  const index_t row = index_t{group} * 16;
  const int M = p.n.M, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const auto q = rounded<Terms, D>(load_rows<D>(p.q.head(b, h), p.q.s.row, row, M));
  const auto dz = rounded<Terms, D>(load_rows<D>(p.dz.head(b, h), p.dz.s.row, row, M));
  const auto z = load_rows<D>(p.z.head(b, h), p.z.s.row, row, M);
  save_shared<D>(at, q);
  save_shared<D>(at + R, dz);
  save_shared<D>(at + 2 * R, transposed(q));
  save_shared<D>(at + 3 * R, transposed(dz));
  const float lo = quad_sum(dot<D>(dz.half[0], z.half[0]));
  const float hi = quad_sum(dot<D>(dz.half[1], z.half[1]));
  float* statistics = reinterpret_cast<float*>(at + 4 * R);
  if (t >= 2) return;
  const index_t m = row + g + 8 * t;
  statistics[g + 8 * t] =
      m < M ? p.lse[(index_t{b} * p.n.H + h) * M + m] * log2_e : INFINITY;  // a weight of 0
  statistics[16 + g + 8 * t] = -(t ? hi : lo);
}

template <int Terms, int D>
__global__ void __launch_bounds__(256) encode_backward_kernel(Pass pass) {
  using L = LatentsF32<D>;
  constexpr int G = L::groups, R = rows_quads<D>;
  extern __shared__ float4 shared[];
  const EncodeBackwardOf<float>& p = pass.p;
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
  const int left_all = pass.heads * warps * left_pairs<D>;
  if (busy)
#pragma unroll
    for (int i = 0; i < G; ++i)
      load_group<Terms, D>(own + i * group_quads<D>, p, b, h, first_group + i * warps);
  __syncwarp();

  Sums<D> dq[G] = {};
  bool odd = false;
  for (index_t first = blockIdx.x * index_t{L::tokens}; first < N; first += stride, odd = !odd) {
    Sums<D> dk = {}, dv = {};
    if (busy) {
      const auto k = rounded<Terms, D>(load_rows<D>(p.k.head(b, h), p.k.s.row, first, N));
      const auto v = rounded<Terms, D>(load_rows<D>(p.v.head(b, h), p.v.s.row, first, N));
      const auto kc = transposed(k);
      const index_t next = first + stride, next_end = next + L::tokens < N ? next + L::tokens : N;
      prefetch_row(p.k.head(b, h), p.k.s.row, next, next_end);
      prefetch_row(p.v.head(b, h), p.v.s.row, next, next_end);
      const float pad0 = first + g < N ? 0.f : -INFINITY;
      const float pad1 = first + g + 8 < N ? 0.f : -INFINITY;
#pragma unroll
      for (int i = 0; i < G; ++i) {
        if (first_group + i * warps >= groups) continue;
        const float4* at = own + i * group_quads<D>;
        const float2* statistics = reinterpret_cast<const float2*>(at + 4 * R);
        float s[2][4], ds[2][4];
        Operand<Terms, 4> weight[2], slope[2], turned[2];
        {
          const auto q = load_shared<D>(at), dz = load_shared<D>(at + R);
#pragma unroll
          for (int x = 0; x < 2; ++x) {
            const float2 lse = statistics[t + 4 * x], delta = statistics[t + 8 + 4 * x];
            scores<Terms, D>(s[x], k, q.half[x], pad0, pad0, pad1, pad1);
            scores<Terms, D>(ds[x], v, dz.half[x], delta.x, delta.y, delta.x, delta.y);
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              s[x][e] = exp2_fast(fmaf(s[x][e], scale, -(e % 2 ? lse.y : lse.x)));
              ds[x][e] = rounded<Terms>(ds[x][e] * s[x][e]);
              s[x][e] = rounded<Terms>(s[x][e]);
            }
            weight[x] = weights<Terms>(s[x]);
          }
        }
        accumulate<Terms, D>(dv, weight, load_shared<D>(at + 3 * R).half);
#pragma unroll
        for (int x = 0; x < 2; ++x) {
          slope[x] = weights<Terms>(ds[x]);
          turned[x] = transposed_weights<Terms>(ds[0], ds[1], x);
        }
        accumulate<Terms, D>(dk, slope, load_shared<D>(at + 2 * R).half);
        accumulate<Terms, D>(dq[i], turned, kc.half);
      }
    }
    if (warps == 1) {
      if (busy) {
        put_tokens<D>(pass.token[0], p.n, b, h, first, dk);
        put_tokens<D>(pass.token[1], p.n, b, h, first, dv);
      }
    } else {  // the two halves of `left` take turns: one barrier a step is enough
      float2* const here = left + (odd ? left_all : 0);
      leave_tokens<D>(here + warp * left_pairs<D>, dk);
      leave_tokens<D>(here + warp * left_pairs<D> + L::pairs, dv);
      __syncthreads();
      if (busy)
        collect_tokens<D>(pass.token, p.n, b, h, first, here + (warp - w) * left_pairs<D>, w,
                          warps);
    }
  }
  if (!busy || !pass.dq) return;
  const index_t part = ((index_t{b} * p.n.H + h) * gridDim.x + blockIdx.x) * M * D;
#pragma unroll
  for (int i = 0; i < G; ++i)
    put_part_f32<D>(pass.dq + part, (first_group + i * warps) * 16, M, dq[i]);
}

}  // namespace

void encode_backward(const EncodeBackwardOf<float>& p) {
  with_width_and_terms(p.n.D, [&]<int D, int Terms>() {
    const auto kernel = encode_backward_kernel<Terms, D>;
    const BackwardPlanF32 plan = backward_plan_f32<D>(p.n, warp_bytes<D>);
    const int shared = plan.heads * plan.warps * warp_bytes<D>;
    const index_t others = index_t{p.n.B} * ceil_div(p.n.H, plan.heads);
    allow_shared(kernel, shared, "flare_encode_backward");
    const unsigned splits = resident_blocks(kernel, plan.threads(), shared, others,
                                            ceil_div(p.n.N, LatentsF32<D>::tokens));
    const Scratch<float> dq(p.dq.wanted() ? index_t{p.n.B} * p.n.H * splits * p.n.M * D
                                          : index_t{0});
    for (int i = 0; i < plan.passes; ++i) {
      const Pass pass{p,
                      {{p.dk, p.n.scale, i > 0}, {p.dv, 1, i > 0}},
                      i * plan.warps * LatentsF32<D>::groups,
                      plan.warps,
                      plan.heads,
                      p.dq.wanted() ? dq.data() : nullptr};
      kernel<<<dim3(splits, unsigned(others)), plan.threads(), shared, stream()>>>(pass);
      check_launch("flare_encode_backward");
    }
    reduce_partials(p.n, dq, int(splits), p.n.scale, p.dq);
  });
}

}  // namespace flr::cuda::flare
