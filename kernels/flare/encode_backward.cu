// Gradients of z[m] = Σₙ P[m,n] v[n], P = softmax over n of scale · q[m]·k[n]:
//   P = exp(S − lse[m]), dS = P ∘ (dz vᵀ − δ[m]), δ[m] = Σ dz[m] ∘ z[m];
//   dv[n] = Σₘ P dz, dk[n] = scale · Σₘ dS q, dq[m] = scale · Σₙ dS k.
//
// Bound by one exponential a score. Split as decode_backward is: a warp has up to 64 latents, the
// warps of a head walk over the tokens together. Scores are taken as tokens × latents, so that P
// and dS are operands of dv and dk as they stand; dq needs dS transposed, four movmatrix a 16×16
// block.
#include "common/resident_blocks.hpp"
#include "flare/token_sums.cuh"

namespace flr::cuda::flare {
namespace {

/// One launch: groups of 16 latents from `group` on.
struct Pass {
  EncodeBackward p;
  TokenGrad dk, dv;
  int group = 0, warps = 1, heads = 1;
  float* dq = nullptr;  ///< parts [B,H,splits,M,D]
};

/// A group in shared memory: q, dz, both transposed, then lse · log₂e and −δ of 16 latents each.
template <int D>
constexpr int group_pairs = 4 * rows_words<D> + 16;
template <int D>
constexpr int warp_pairs = Latents<D>::groups* group_pairs<D> + 4 * Latents<D>::pairs;

template <int D>
__device__ void load_group(uint2* at, const EncodeBackward& p, int b, int h, int group) {
  constexpr int R = rows_words<D>;
  const index_t row = index_t{group} * 16;
  const int M = p.n.M, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const Rows<D> q = load_rows<D>(p.q.head(b, h), p.q.s.row, row, M);
  const Rows<D> dz = load_rows<D>(p.dz.head(b, h), p.dz.s.row, row, M);
  const Rows<D> z = load_rows<D>(p.z.head(b, h), p.z.s.row, row, M);
  save_shared<D>(at, q);
  save_shared<D>(at + R, dz);
  save_shared<D>(at + 2 * R, transposed(q));
  save_shared<D>(at + 3 * R, transposed(dz));
  const float lo = quad_sum(dot<D>(dz.lo, z.lo)), hi = quad_sum(dot<D>(dz.hi, z.hi));
  float* statistics = reinterpret_cast<float*>(at + 4 * R);
  if (t >= 2) return;
  const index_t m = row + g + 8 * t;
  statistics[g + 8 * t] =
      m < M ? p.lse[(index_t{b} * p.n.H + h) * M + m] * log2_e : INFINITY;  // a weight of 0
  statistics[16 + g + 8 * t] = -(t ? hi : lo);
}

template <int D>
__global__ void __launch_bounds__(256) encode_backward_kernel(Pass pass) {
  using L = Latents<D>;
  constexpr int G = L::groups, H = L::halves, R = rows_words<D>;
  extern __shared__ uint2 shared[];
  const EncodeBackward& p = pass.p;
  const int warps = pass.warps, warp = threadIdx.x / 32, w = warp % warps;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int head_blocks = (p.n.H + pass.heads - 1) / pass.heads;
  const int b = blockIdx.y / head_blocks;
  const int h = blockIdx.y % head_blocks * pass.heads + warp / warps;
  const bool busy = h < p.n.H;
  const int M = p.n.M, groups = (M + 15) / 16, first_group = pass.group + w;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, stride = index_t{gridDim.x} * L::tokens;

  uint2* const own = shared + warp * G * group_pairs<D>;
  float2* const left = reinterpret_cast<float2*>(shared + pass.heads * warps * G * group_pairs<D>);
  const int left_all = pass.heads * warps * 2 * L::pairs;
  if (busy)
#pragma unroll
    for (int i = 0; i < G; ++i)
      load_group<D>(own + i * group_pairs<D>, p, b, h, first_group + i * warps);
  __syncwarp();

  Sums<D> dq[G] = {};
  bool odd = false;
  for (index_t first = blockIdx.x * index_t{L::tokens}; first < N; first += stride, odd = !odd) {
    Sums<D> dk[H] = {}, dv[H] = {};
    if (busy) {
      Rows<D> k[H], v[H], kc[H];
      float pad[H][2];  // −∞ for tokens g and g + 8 that are not there
#pragma unroll
      for (int i = 0; i < H; ++i) {
        const index_t n = first + 16 * i;
        k[i] = load_rows<D>(p.k.head(b, h), p.k.s.row, n, N);
        v[i] = load_rows<D>(p.v.head(b, h), p.v.s.row, n, N);
        kc[i] = transposed(k[i]);
        pad[i][0] = n + g < N ? 0.f : -INFINITY, pad[i][1] = n + g + 8 < N ? 0.f : -INFINITY;
      }
      const index_t next = first + stride, next_end = next + L::tokens < N ? next + L::tokens : N;
      prefetch_row(p.k.head(b, h), p.k.s.row, next, next_end);
      prefetch_row(p.v.head(b, h), p.v.s.row, next, next_end);
#pragma unroll
      for (int i = 0; i < G; ++i) {
        if (first_group + i * warps >= groups) continue;
        const uint2* at = own + i * group_pairs<D>;
        const Rows<D> q = load_shared<D>(at), dz = load_shared<D>(at + R),
                      qc = load_shared<D>(at + 2 * R), dzc = load_shared<D>(at + 3 * R);
        const float2* statistics = reinterpret_cast<const float2*>(at + 4 * R);
        const float2 lse[2] = {statistics[t], statistics[t + 4]};
        const float2 delta[2] = {statistics[t + 8], statistics[t + 12]};
#pragma unroll
        for (int a = 0; a < H; ++a) {
          float s[2][4], ds[2][4];
#pragma unroll
          for (int x = 0; x < 2; ++x) {
            const float2 d = delta[x];
            scores<D>(s[x], k[a], x ? q.hi : q.lo, pad[a][0], pad[a][0], pad[a][1], pad[a][1]);
            scores<D>(ds[x], v[a], x ? dz.hi : dz.lo, d.x, d.y, d.x, d.y);
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              s[x][e] = exp2_fast(fmaf(s[x][e], scale, -(e % 2 ? lse[x].y : lse[x].x)));
              ds[x][e] *= s[x][e];
            }
          }
          accumulate<D>(dv[a], weights(s[0], s[1]), dzc);
          const Weights slope = weights(ds[0], ds[1]);
          accumulate<D>(dk[a], slope, qc);
          accumulate<D>(dq[i], transposed(slope), kc[a]);
        }
      }
    }
    if (warps == 1) {
      if (busy) {
        put_tokens<D>(pass.dk, p.n, b, h, first, dk);
        put_tokens<D>(pass.dv, p.n, b, h, first, dv);
      }
    } else {  // the two halves of `left` take turns: one barrier a step is enough
      float2* const here = left + (odd ? left_all : 0);
      float2* const mine = here + warp * 2 * L::pairs;
      leave_tokens<D>(mine, dk);
      leave_tokens<D>(mine + L::pairs, dv);
      __syncthreads();
      if (busy) {
        const float2* from = here + (warp - w) * 2 * L::pairs;
        collect_tokens<D>(pass.dk, p.n, b, h, first, from, 2 * L::pairs, w, warps);
        collect_tokens<D>(pass.dv, p.n, b, h, first, from + L::pairs, 2 * L::pairs, w, warps);
      }
    }
  }
  if (!busy || !pass.dq) return;
  const index_t part = ((index_t{b} * p.n.H + h) * gridDim.x + blockIdx.x) * M * D;
#pragma unroll
  for (int i = 0; i < G; ++i) put_part<D>(pass.dq + part, (first_group + i * warps) * 16, M, dq[i]);
}

}  // namespace

void encode_backward(const EncodeBackward& p) {
  with_width(p.n.D, [&]<int D>() {
    const BackwardPlan plan = backward_plan<D>(p.n);
    const int shared = plan.heads * plan.warps * warp_pairs<D> * int(sizeof(uint2));
    const index_t others = index_t{p.n.B} * ceil_div(p.n.H, plan.heads);
    allow_shared(encode_backward_kernel<D>, shared, "flare_encode_backward");
    const unsigned splits =
        resident_blocks(encode_backward_kernel<D>, plan.threads(), shared, others,
                        ceil_div(p.n.N, index_t{2} * Latents<D>::tokens));
    const index_t parts = index_t{p.n.B} * p.n.H * splits * p.n.M * D;
    const index_t carried = plan.passes > 1 ? index_t{p.n.B} * p.n.H * p.n.N * D : 0;
    const Scratch<float> dq(p.dq.wanted() ? parts : 0), dk(p.dk.wanted() ? carried : 0),
        dv(p.dv.wanted() ? carried : 0);
    Pass pass{p, {p.dk, carried ? dk.data() : nullptr, p.n.N}, {p.dv, carried ? dv.data() : nullptr, p.n.N}};
    pass.warps = plan.warps, pass.heads = plan.heads;
    pass.dk.factor = p.n.scale;
    pass.dq = p.dq.wanted() ? dq.data() : nullptr;
    for (int i = 0; i < plan.passes; ++i) {
      pass.group = i * plan.warps * Latents<D>::groups;
      pass.dk.first = pass.dv.first = i == 0;
      pass.dk.last = pass.dv.last = i + 1 == plan.passes;
      encode_backward_kernel<D>
          <<<dim3(splits, unsigned(others)), plan.threads(), shared, stream()>>>(pass);
      check_launch("flare_encode_backward");
    }
    reduce_partials(p.n, dq, int(splits), p.n.scale, p.dq);
  });
}

}  // namespace flr::cuda::flare
