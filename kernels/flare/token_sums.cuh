// Gradients of tokens: each is a sum over all latents of its head, of which every warp of the head
// has some. The warps' sums meet in shared memory and are added in order of warps; where the
// latents do not fit in one launch, also in a float carry in memory, in order of launches.
#pragma once

#include "flare/fragments.cuh"

namespace flr::cuda::flare {

/// How the backward kernels cut the latents: a warp has `groups` groups of 16 of them in registers.
template <int D>
struct Latents {
  static constexpr int groups = D <= 16 ? 4 : D == 32 ? 2 : 1;
  static constexpr int halves = D <= 16 ? 2 : 1;      ///< of 16 tokens, a step
  static constexpr int most_warps = D >= 64 ? 4 : 8;  ///< for a head: what shared memory holds
  static constexpr int tokens = 16 * halves;
  /// Pairs of floats that a warp leaves for one output of a step.
  static constexpr int pairs = tokens / 8 * regs<D> * 32;
};

struct BackwardPlan {
  int warps = 1;   ///< of a head
  int heads = 1;   ///< of a block, neighbours
  int passes = 1;  ///< launches, each with its share of the latents
  int threads() const { return 32 * warps * heads; }
};
template <int D>
BackwardPlan backward_plan(const Sizes& n) {
  const int units = int(ceil_div(ceil_div(n.M, 16), Latents<D>::groups));
  // Four warps at D = 128 fill a Hopper's shared memory; on other chips two have to do.
  const int most = D == 128 && max_shared_bytes() < 200 * 1024 ? 2 : Latents<D>::most_warps;
  BackwardPlan plan;
  plan.passes = int(ceil_div(units, most));
  plan.warps = int(ceil_div(units, plan.passes));
  // Four warps make small blocks, of which registers hold more; eight cover a line at D = 8.
  const int warps = D <= 8 || plan.warps > 4 ? 8 : most < 4 ? most : 4;
  plan.heads = warps / plan.warps < n.H ? warps / plan.warps : n.H;
  return plan;
}

/// Where a gradient of tokens goes. `carry` [B,H,rows,D], from row `first_row` on; null if there is one
/// launch.
struct TokenGrad {
  Grad grad;
  float* carry = nullptr;
  index_t rows = 0, first_row = 0;
  bool first = true, last = true;  ///< whether this is the first launch, the last
  float factor = 1;
};

/// Row n of head (b, h): the lane's D/4 sums.
template <int D>
__device__ void put_row(const TokenGrad& to, const Sizes& size, int b, int h, index_t n,
                        float (&c)[2 * regs<D>]) {
  const int t = threadIdx.x % 4;
  if (!to.grad.wanted() || n >= size.N) return;
  if (to.carry && holds<D>(t)) {
    float* row = to.carry + ((index_t{b} * size.H + h) * to.rows + n - to.first_row) * D;
#pragma unroll
    for (int j = 0; j < regs<D>; ++j) {
      float2* at = reinterpret_cast<float2*>(row + channel<D>(j, t));
      if (!to.first) {
        const float2 old = *at;
        c[2 * j] += old.x, c[2 * j + 1] += old.y;
      }
      if (!to.last) *at = {c[2 * j], c[2 * j + 1]};
    }
  }
  if (!to.last) return;
#pragma unroll
  for (int e = 0; e < 2 * regs<D>; ++e) c[e] *= to.factor;
  store_row<D>(to.grad.head(b, h) + n * to.grad.s.row, c, t, to.grad.mode == GradMode::accumulate);
}

/// A head with one warp: straight from registers.
template <int D>
__device__ void put_tokens(const TokenGrad& to, const Sizes& size, int b, int h, index_t first,
                           const Sums<D> (&sums)[Latents<D>::halves]) {
#pragma unroll
  for (int i = 0; i < 2 * Latents<D>::halves; ++i) {
    float c[2 * regs<D>];
    row_of<D>(c, sums[i / 2], i % 2, 1);
    put_row<D>(to, size, b, h, first + 8 * i + threadIdx.x % 32 / 4, c);
  }
}

/// A head with several: each leaves its sums, and after a barrier takes some of the rows.
template <int D>
__device__ void leave_tokens(float2* at, const Sums<D> (&sums)[Latents<D>::halves]) {
#pragma unroll
  for (int i = 0; i < 2 * Latents<D>::halves; ++i)
#pragma unroll
    for (int j = 0; j < regs<D>; ++j)
      at[(i * regs<D> + j) * 32 + threadIdx.x % 32] = {sums[i / 2][j][i % 2 * 2],
                                                       sums[i / 2][j][i % 2 * 2 + 1]};
}
/// `from` is what the head's first warp left, the next one's is `stride` pairs further.
template <int D>
__device__ void collect_tokens(const TokenGrad& to, const Sizes& size, int b, int h, index_t first,
                               const float2* from, int stride, int warp, int warps) {
  for (int i = warp; i < 2 * Latents<D>::halves; i += warps) {
    float c[2 * regs<D>] = {};
    for (int w = 0; w < warps; ++w)
#pragma unroll
      for (int j = 0; j < regs<D>; ++j) {
        const float2 x = from[w * stride + (i * regs<D> + j) * 32 + threadIdx.x % 32];
        c[2 * j] += x.x, c[2 * j + 1] += x.y;
      }
    put_row<D>(to, size, b, h, first + 8 * i + threadIdx.x % 32 / 4, c);
  }
}

/// A warp's sums over its tokens for a group of latents, as a part: rows of D floats, written or added.
template <int D>
__device__ void put_part(float* part, int first, int M, const Sums<D>& sums, bool add = false) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  if (!holds<D>(t)) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int m = first + g + 8 * half;
    if (m >= M) continue;
#pragma unroll
    for (int j = 0; j < regs<D>; ++j) {
      float2* at = reinterpret_cast<float2*>(part + index_t{m} * D + channel<D>(j, t));
      const float2 old = add ? *at : float2{0, 0};
      *at = {old.x + sums[j][2 * half], old.y + sums[j][2 * half + 1]};
    }
  }
}

}  // namespace flr::cuda::flare
