// Gradients of y[n] = Σₘ P[n,m] z[m], P = softmax over m of scale · k[n]·q[m]:
//   P = exp(S − lse[n]), dS = P ∘ (dy zᵀ − δ[n]), δ[n] = Σ dy[n] ∘ y[n];
//   dk[n] = scale · Σₘ dS q, dq[m] = scale · Σₙ dS k, dz[m] = Σₙ P dy.
//
// Bound by one exponential a score. All kernels that cut this by latents leave most of the chip
// idle: here the tokens are cut. A warp has up to 64 latents of one head, with the sums of their
// gradients in registers; the warps of a head walk together over every `splits`-th tile of 32
// tokens, add their shares of dk at once, and at the end write dq and dz as parts, which
// reduce_partials adds in order. Scores are taken as latents × tokens, so that P and dS are
// operands of dz and dq as they stand; dk needs dS transposed, four movmatrix a 16×16 block. −δ
// enters as what the product dy zᵀ is added to.
#include "common/resident_blocks.hpp"
#include "flare/token_sums.cuh"

namespace flr::cuda::flare {
namespace {

/// One launch: groups of 16 latents from `group` on.
struct Pass {
  DecodeBackward p;
  TokenGrad dk;
  int group = 0, warps = 1, heads = 1;
  float *dq = nullptr, *dz = nullptr;  ///< parts [B,H,splits,M,D]
};

template <int D>
constexpr int warp_pairs = Latents<D>::groups * 3 * rows_words<D> + 2 * Latents<D>::pairs;

// Twelve warps on a multiprocessor where blocks are small, which registers just allow; 16 at D = 8.
template <int D, int Threads>
__global__ void __launch_bounds__(Threads, Threads == 128 ? 3
                                           : D <= 8       ? 2
                                                          : 1) decode_backward_kernel(Pass pass) {
  using L = Latents<D>;
  constexpr int G = L::groups, H = L::halves, R = rows_words<D>;
  extern __shared__ uint2 shared[];
  const DecodeBackward& p = pass.p;
  const int warps = pass.warps, warp = threadIdx.x / 32, w = warp % warps;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int head_blocks = (p.n.H + pass.heads - 1) / pass.heads;
  const int b = blockIdx.y / head_blocks;
  const int h = blockIdx.y % head_blocks * pass.heads + warp / warps;
  const bool busy = h < p.n.H;
  const int M = p.n.M, groups = (M + 15) / 16, first_group = pass.group + w;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, stride = index_t{gridDim.x} * L::tokens;

  uint2* const own = shared + warp * G * 3 * R;  // of a group: q, z, q transposed
  float2* const left = reinterpret_cast<float2*>(shared + pass.heads * warps * G * 3 * R);
  const int left_all = pass.heads * warps * L::pairs;
  if (busy)
#pragma unroll
    for (int i = 0; i < G; ++i) {
      const index_t row = index_t{first_group + i * warps} * 16;
      const Rows<D> q = load_rows<D>(p.q.head(b, h), p.q.s.row, row, M);
      save_shared<D>(own + 3 * i * R, q);
      save_shared<D>(own + (3 * i + 1) * R, load_rows<D>(p.z.head(b, h), p.z.s.row, row, M));
      save_shared<D>(own + (3 * i + 2) * R, transposed(q));
    }
  __syncwarp();

  Sums<D> dq[G] = {}, dz[G] = {};
  const float* lse_row = p.lse + (index_t{b} * p.n.H + h) * N;
  bool odd = false;
  for (index_t first = blockIdx.x * index_t{L::tokens}; first < N; first += stride, odd = !odd) {
    Sums<D> dk[H] = {};
    if (busy) {
      Rows<D> k[H], dy[H], kc[H], dyc[H];
      float lse[H][4], delta[H][4];  // of tokens 2t, 2t + 1, 8 + 2t, 8 + 2t + 1; delta negated
#pragma unroll
      for (int i = 0; i < H; ++i) {
        const index_t n = first + 16 * i;
        k[i] = load_rows<D>(p.k.head(b, h), p.k.s.row, n, N);
        dy[i] = load_rows<D>(p.dy.head(b, h), p.dy.s.row, n, N);
        const Rows<D> y = load_rows<D>(p.y.head(b, h), p.y.s.row, n, N);
        const float lo = quad_sum(dot<D>(dy[i].lo, y.lo)), hi = quad_sum(dot<D>(dy[i].hi, y.hi));
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const index_t at = n + e / 2 * 8 + 2 * t + e % 2;
          lse[i][e] = at < N ? lse_row[at] * log2_e : INFINITY;
          delta[i][e] = -__shfl_sync(0xffffffffu, e < 2 ? lo : hi, 8 * t + 4 * (e % 2));
        }
        kc[i] = transposed(k[i]), dyc[i] = transposed(dy[i]);
      }
      const index_t next = first + stride, next_end = next + L::tokens < N ? next + L::tokens : N;
      prefetch_row(p.k.head(b, h), p.k.s.row, next, next_end);
      prefetch_row(p.dy.head(b, h), p.dy.s.row, next, next_end);
      prefetch_row(p.y.head(b, h), p.y.s.row, next, next_end);
#pragma unroll
      for (int i = 0; i < G; ++i) {
        const int group = first_group + i * warps;
        if (group >= groups) continue;
        const Rows<D> q = load_shared<D>(own + 3 * i * R),
                      z = load_shared<D>(own + (3 * i + 1) * R),
                      qc = load_shared<D>(own + (3 * i + 2) * R);
        const float pad0 = group * 16 + g < M ? 0.f : -INFINITY;
        const float pad1 = group * 16 + g + 8 < M ? 0.f : -INFINITY;
#pragma unroll
        for (int a = 0; a < H; ++a) {
          float s[2][4], ds[2][4];
          scores<D>(s[0], q, k[a].lo, pad0, pad0, pad1, pad1);
          scores<D>(s[1], q, k[a].hi, pad0, pad0, pad1, pad1);
          scores<D>(ds[0], z, dy[a].lo, delta[a][0], delta[a][1], delta[a][0], delta[a][1]);
          scores<D>(ds[1], z, dy[a].hi, delta[a][2], delta[a][3], delta[a][2], delta[a][3]);
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            float& x = s[e / 4][e % 4];
            x = exp2_fast(fmaf(x, scale, -lse[a][e / 4 * 2 + e % 2]));
            ds[e / 4][e % 4] *= x;
          }
          accumulate<D>(dz[i], weights(s[0], s[1]), dyc[a]);
          const Weights slope = weights(ds[0], ds[1]);
          accumulate<D>(dq[i], slope, kc[a]);
          accumulate<D>(dk[a], transposed(slope), qc);
        }
      }
    }
    if (warps == 1) {
      if (busy) put_tokens<D>(pass.dk, p.n, b, h, first, dk);
    } else {  // the two halves of `left` take turns: one barrier a step is enough
      float2* const here = left + (odd ? left_all : 0);
      leave_tokens<D>(here + warp * L::pairs, dk);
      __syncthreads();
      if (busy)
        collect_tokens<D>(pass.dk, p.n, b, h, first, here + (warp - w) * L::pairs, L::pairs, w,
                          warps);
    }
  }
  if (!busy) return;
  const index_t part = ((index_t{b} * p.n.H + h) * gridDim.x + blockIdx.x) * M * D;
#pragma unroll
  for (int i = 0; i < G; ++i) {
    const int m = (first_group + i * warps) * 16;
    if (pass.dq) put_part<D>(pass.dq + part, m, M, dq[i]);
    if (pass.dz) put_part<D>(pass.dz + part, m, M, dz[i]);
  }
}

}  // namespace

void decode_backward(const DecodeBackward& p) {
  with_width(p.n.D, [&]<int D>() {
    const BackwardPlan plan = backward_plan<D>(p.n);
    const int shared = plan.heads * plan.warps * warp_pairs<D> * int(sizeof(uint2));
    const index_t others = index_t{p.n.B} * ceil_div(p.n.H, plan.heads);
    constexpr int few = D == 16 || D == 32 ? 128 : 256;
    const auto kernel =
        plan.threads() <= 128 ? decode_backward_kernel<D, few> : decode_backward_kernel<D, 256>;
    allow_shared(kernel, shared, "flare_decode_backward");
    const unsigned splits = resident_blocks(kernel, plan.threads(), shared, others,
                                            ceil_div(p.n.N, index_t{2} * Latents<D>::tokens));
    const index_t parts = index_t{p.n.B} * p.n.H * splits * p.n.M * D;
    const index_t carried = index_t{p.n.B} * p.n.H * p.n.N * D;
    const Scratch<float> dq(p.dq.wanted() ? parts : 0), dz(p.dz.wanted() ? parts : 0),
        carry(plan.passes > 1 && p.dk.wanted() ? carried : 0);
    Pass pass{p, {p.dk, plan.passes > 1 ? carry.data() : nullptr, p.n.N}, 0, plan.warps, plan.heads};
    pass.dk.factor = p.n.scale;
    pass.dq = p.dq.wanted() ? dq.data() : nullptr;
    pass.dz = p.dz.wanted() ? dz.data() : nullptr;
    for (int i = 0; i < plan.passes; ++i) {
      pass.group = i * plan.warps * Latents<D>::groups;
      pass.dk.first = i == 0, pass.dk.last = i + 1 == plan.passes;
      kernel<<<dim3(splits, unsigned(others)), plan.threads(), shared, stream()>>>(pass);
      check_launch("flare_decode_backward");
    }
    reduce_partials(p.n, dq, int(splits), p.n.scale, p.dq);
    reduce_partials(p.n, dz, int(splits), 1, p.dz);
  });
}

}  // namespace flr::cuda::flare
