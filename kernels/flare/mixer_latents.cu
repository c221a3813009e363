// The first pass of mixer_backward with latents in registers: dz[m] = Σₙ R[n,m] dy[n], R = 2^(S − lse_y[n])
// of finished scores, which is encode without a maximum. Scores are taken as latents × tokens, so that two
// neighbouring tiles are A of the product with dy as they stand.
//
// Bound by one exponential a score. (Round a ring, where warps hold tokens, R must be turned and the sums of
// latents pass through shared memory; but tokens are read once, here once for every 64 latents.)
#include "flare/held_latents.cuh"

namespace flr::cuda::flare {
namespace {

template <int D>
__global__ void __launch_bounds__(Held<D>::warps * 32)
    held_kernel(const __grid_constant__ MixerBackward p, int units, int latent_blocks, float* parts) {
  constexpr int G = Held<D>::groups, halves = Held<D>::halves, tokens = Held<D>::tokens;
  const HeldUnit<D> unit(p.n, units, latent_blocks);
  if (!unit.there) return;
  const int b = unit.b, h = unit.h, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, stride = index_t{unit.splits} * tokens;

  Rows<D> q[G];
  Sums<D> dz[G] = {};
#pragma unroll
  for (int i = 0; i < G; ++i) q[i] = load_left<D>(p.q.head(b, h), p.q.s.row, unit.latent(i), p.n.M);
  const bf16 *k_head = p.k.head(b, h), *dy_head = p.dy.head(b, h);
  const float* lse_head = p.lse_y + (index_t{b} * p.n.H + h) * N;
  const auto add_tokens = [&](const Rows<D>(&k)[halves], const Rows<D>(&dy)[halves], const float(&lse)[2 * halves][2]) {
    unit.each_group([&](int i) {
      float s[2 * halves][4];
#pragma unroll
      for (int a = 0; a < halves; ++a) {
        scores<D>(s[2 * a], q[i], k[a].lo, 0, 0, 0, 0);
        scores<D>(s[2 * a + 1], q[i], k[a].hi, 0, 0, 0, 0);
      }
#pragma unroll
      for (int a = 0; a < 2 * halves; ++a)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[a][e] = exp2_fast(fmaf(s[a][e], scale, -lse[a][e % 2]));
#pragma unroll
      for (int a = 0; a < halves; ++a) accumulate<D>(dz[i], weights(s[2 * a], s[2 * a + 1]), dy[a]);
    });
  };

  index_t n = index_t{unit.split} * tokens;
  TokenRows<D> keys(k_head, p.k.s.row, n, stride), changes(dy_head, p.dy.s.row, n, stride);
  const float* lse_at = lse_head + n + 2 * t;
  for (; n + tokens <= N; n += stride, lse_at += stride) {
    Rows<D> k[halves], dy[halves];
    float lse[2 * halves][2];
#pragma unroll
    for (int a = 0; a < halves; ++a) k[a] = keys.load(16 * a), dy[a] = transposed(changes.load(16 * a));
#pragma unroll
    for (int a = 0; a < 2 * halves; ++a)
#pragma unroll
      for (int e = 0; e < 2; ++e) lse[a][e] = lse_at[8 * a + e] * log2_e;
    const bool more = n + stride + tokens <= N && lane < tokens;
    keys.advance(more), changes.advance(more);
    add_tokens(k, dy, lse);
  }
  if (n < N) {
    Rows<D> k[halves], dy[halves];
    float lse[2 * halves][2];
#pragma unroll
    for (int a = 0; a < halves; ++a) {
      k[a] = load_rows<D>(k_head, p.k.s.row, n + 16 * a, N);
      dy[a] = transposed(load_rows<D>(dy_head, p.dy.s.row, n + 16 * a, N));
    }
#pragma unroll
    for (int a = 0; a < 2 * halves; ++a)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        lse[a][e] = n + 8 * a + 2 * t + e < N ? lse_at[8 * a + e] * log2_e : INFINITY;
    add_tokens(k, dy, lse);
  }
#pragma unroll
  for (int i = 0; i < G; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = unit.latent(i) + g + 8 * half;
      if (m < p.n.M) write_row<D>(parts + (unit.part(p.n) + m) * D, dz[i], half);
    }
}

}  // namespace

void mixer_latents_held(const MixerBackward& p, const std::function<void(const float* parts, int splits)>& then) {
  with_width<64>(p.n.D, [&]<int D>() {
    const HeldPlan plan = HeldPlan::of<D>(held_kernel<D>, p.n);
    const Scratch<float> parts(index_t{p.n.B} * p.n.H * plan.splits * p.n.M * D);
    const dim3 grid(plan.blocks, plan.others);
    held_kernel<D><<<grid, Held<D>::warps * 32, 0, stream()>>>(p, plan.units, plan.latent_blocks, parts);
    check_launch("flare_mixer_backward");
    then(parts, plan.splits);
  });
}

}  // namespace flr::cuda::flare
