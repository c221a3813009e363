// token_sums.cuh for floats: gradients of tokens, each a sum over all latents of its head, of which
// every warp of the head has some. The warps' sums meet in shared memory and are added in order of
// warps. Where the latents do not fit in one launch, later launches add to what earlier ones wrote:
// the gradient is a float itself.
#pragma once

#include "flare/fragments_f32.cuh"

namespace flr::cuda::flare {

/// How the backward kernels cut the latents: a warp has `groups` groups of 16 of them in registers.
template <int D>
struct LatentsF32 {
  static constexpr int groups = D <= 8 ? 4 : D <= 16 ? 2 : 1;
  static constexpr int most_warps = 8;  ///< for a head
  static constexpr int tokens = 16;     ///< a step
  /// Pairs of floats that a warp leaves for one output of a step.
  static constexpr int pairs = 2 * regs<D> * 32;
};

struct BackwardPlanF32 {
  int warps = 1;   ///< of a head
  int heads = 1;   ///< of a block, neighbours
  int passes = 1;  ///< launches, each with its share of the latents
  int threads() const { return 32 * warps * heads; }
};
/// `warp_bytes`: shared memory of a warp.
template <int D>
BackwardPlanF32 backward_plan_f32(const Sizes& n, int warp_bytes) {
  constexpr int block_warps = 4;  // small blocks, of which registers hold more
  const int units = int(ceil_div(ceil_div(n.M, 16), LatentsF32<D>::groups));
  int most = max_shared_bytes() / warp_bytes;
  if (most > LatentsF32<D>::most_warps) most = LatentsF32<D>::most_warps;
  check(most > 0, "[flare] expected {} bytes of shared memory; the device has {}", warp_bytes,
        max_shared_bytes());
  BackwardPlanF32 plan;
  plan.passes = int(ceil_div(units, most));
  plan.warps = int(ceil_div(units, plan.passes));
  const int room = (most < block_warps ? most : block_warps) / plan.warps;
  plan.heads = room < 1 ? 1 : room < n.H ? room : n.H;
  return plan;
}

/// Where a gradient of tokens goes; `add`: on top of what is there.
struct TokenGradF32 {
  GradOf<float> grad;
  float factor = 1;
  bool add = false;
  TokenGradF32(const GradOf<float>& g, float f, bool later)
      : grad(g), factor(f), add(later || g.mode == GradMode::accumulate) {}
};

/// Neighbouring pairs from c · wide_f32 on, of row n of head (b, h).
template <int D>
__device__ void put_chunk(const TokenGradF32& to, const Sizes& size, int b, int h, index_t n, int c,
                          const float2 (&sum)[wide_f32<D>]) {
  const int t = threadIdx.x % 4;
  if (!to.grad.wanted() || n >= size.N || !holds<D>(t)) return;
  using Chunk = Pack<float2, wide_f32<D>>;
  Chunk* const at = reinterpret_cast<Chunk*>(to.grad.head(b, h) + n * to.grad.s.row +
                                             channel_f32<D>(c * wide_f32<D>, t));
  Chunk x = {};
  if (to.add) x = *at;
#pragma unroll
  for (int e = 0; e < wide_f32<D>; ++e)
    x.v[e].x += sum[e].x * to.factor, x.v[e].y += sum[e].y * to.factor;
  *at = x;
}

/// A head with one warp: straight from registers.
template <int D>
__device__ void put_tokens(const TokenGradF32& to, const Sizes& size, int b, int h, index_t first,
                           const Sums<D>& sums) {
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int c = 0; c < regs<D> / wide_f32<D>; ++c) {
      float2 sum[wide_f32<D>];
#pragma unroll
      for (int e = 0; e < wide_f32<D>; ++e) {
        const int j = c * wide_f32<D> + e;
        sum[e] = {sums[j][2 * half], sums[j][2 * half + 1]};
      }
      put_chunk<D>(to, size, b, h, first + 8 * half + threadIdx.x % 32 / 4, c, sum);
    }
}

/// A head with several: each leaves its sums, and after a barrier takes every `warps`-th chunk of
/// the outputs.
template <int D>
__device__ void leave_tokens(float2* at, const Sums<D>& sums) {
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int j = 0; j < regs<D>; ++j)
      at[(half * regs<D> + j) * 32 + threadIdx.x % 32] = {sums[j][2 * half], sums[j][2 * half + 1]};
}
/// `from` is what the head's first warp left: `Outputs` times `pairs`.
template <int D, int Outputs>
__device__ void collect_tokens(const TokenGradF32 (&to)[Outputs], const Sizes& size, int b, int h,
                               index_t first, const float2* from, int warp, int warps) {
  constexpr int W = wide_f32<D>, chunks = regs<D> / W, P = LatentsF32<D>::pairs;
  const int lane = threadIdx.x % 32;
  for (int i = warp; i < Outputs * 2 * chunks; i += warps) {
    const int output = i / (2 * chunks), half = i / chunks % 2, c = i % chunks;
    const float2* at = from + output * P + (half * regs<D> + c * W) * 32 + lane;
    float2 sum[W] = {};
    for (int w = 0; w < warps; ++w)
#pragma unroll
      for (int e = 0; e < W; ++e) {
        const float2 x = at[w * Outputs * P + e * 32];
        sum[e].x += x.x, sum[e].y += x.y;
      }
    put_chunk<D>(to[output], size, b, h, first + 8 * half + lane / 4, c, sum);
  }
}

/// A warp's sums over its tokens for a group of latents, as a part: rows of D floats.
template <int D>
__device__ void put_part_f32(float* part, int first, int M, const Sums<D>& sums) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int m = first + g + 8 * half;
    if (m >= M) continue;
    float c[2 * regs<D>];
    row_of<D>(c, sums, half, 1);
    store_row<D>(part + index_t{m} * D, c, t, false);
  }
}

}  // namespace flr::cuda::flare
