// Latents that stay in a warp's registers while tokens pass by, for passes that sum over tokens.
//
// A unit is a head and every `latent_blocks`-th group of 16 latents, up to Held<D>::groups of them. A block
// takes `units` units, which are neighbouring heads and fill a line of a token, and has several splits of
// the tokens where there are fewer units than warps. A warp takes every splits-th step of tokens.
#pragma once

#include "flare/fragments.cuh"
#include "flare/launch.hpp"

namespace flr::cuda::flare {

template <int D>
struct Held {
  static constexpr int groups = D <= 16 ? 4 : D <= 64 ? 2 : 1;  ///< of 16 latents, a warp
  static constexpr int halves = D <= 16 ? 2 : 1;                ///< of 16 tokens, a step
  static constexpr int tokens = 16 * halves;
  static constexpr int warps = D <= 8 ? 8 : 4;                  ///< of a block
};

struct HeldPlan {
  int units = 1, latent_blocks = 1;
  unsigned blocks = 1, others = 1;  ///< of the grid, in x and y
  int splits = 1;

  template <int D, class Kernel>
  static HeldPlan of(Kernel* kernel, const Sizes& n) {
    HeldPlan plan;
    plan.latent_blocks = int(ceil_div(ceil_div(n.M, 16), Held<D>::groups));
    const index_t all_units = index_t{n.H} * plan.latent_blocks;
    plan.units = Held<D>::warps;
    while (plan.units > all_units) plan.units /= 2;
    const int subsplits = Held<D>::warps / plan.units;
    plan.others = unsigned(n.B * ceil_div(all_units, plan.units));
    // A part should be of a few steps at least: it is written, and read again to be added up.
    const index_t most = ceil_div(n.N, index_t{Held<D>::tokens} * 4 * subsplits);
    plan.blocks = resident_blocks(kernel, Held<D>::warps * 32, 0, plan.others, most);
    plan.splits = int(plan.blocks) * subsplits;
    return plan;
  }
};

/// What a warp has to do.
template <int D>
struct HeldUnit {
  static constexpr int G = Held<D>::groups;
  int b, h, first_group, latent_blocks, groups, split, splits;
  bool there;  ///< whether there is a unit for this warp

  __device__ HeldUnit(const Sizes& n, int units, int latent_blocks) : latent_blocks(latent_blocks) {
    const int warp = threadIdx.x / 32, unit_blocks = (n.H * latent_blocks + units - 1) / units;
    const int unit = blockIdx.y % unit_blocks * units + warp % units, subsplits = Held<D>::warps / units;
    b = blockIdx.y / unit_blocks, h = unit % n.H, first_group = unit / n.H, groups = (n.M + 15) / 16;
    splits = int(gridDim.x) * subsplits, split = int(blockIdx.x) * subsplits + warp / units;
    there = unit < n.H * latent_blocks;
  }
  /// The first latent of group i.
  __device__ int latent(int i) const { return (first_group + i * latent_blocks) * 16; }
  /// f(i) for the groups that exist. Where all do there is no branch between them, and their products and
  /// exponentials overlap.
  template <class F>
  __device__ void each_group(F f) const {
    if (first_group + (G - 1) * latent_blocks < groups) {
#pragma unroll
      for (int i = 0; i < G; ++i) f(i);
    } else {
#pragma unroll
      for (int i = 0; i < G - 1; ++i)
        if (first_group + i * latent_blocks < groups) f(i);
    }
  }
  /// Row of the first latent in parts [B,H,splits,M,…].
  __device__ index_t part(const Sizes& n) const { return ((index_t{b} * n.H + h) * splits + split) * n.M; }
};

/// A warp's walk down the tokens of a head, by pointers: nothing is multiplied in the loop.
template <int D>
struct TokenRows {
  const bf16 *row, *ahead;  ///< token g of this step, and token `lane` of the next one
  int stride;
  index_t turn;

  __device__ TokenRows(const bf16* head, index_t stride, index_t first, index_t tokens)
      : row(head + (first + threadIdx.x % 32 / 4) * stride),
        ahead(head + (first + tokens + threadIdx.x % 32) * stride), stride(int(stride)), turn(tokens * stride) {}

  /// Tokens first … first + 15 of this step.
  __device__ Rows<D> load(int first) const {
    const int t = threadIdx.x % 4;
    Rows<D> r = {};
    load_row<D>(r.lo, row + first * stride, t);
    load_row<D>(r.hi, row + (first + 8) * stride, t);
    return r;
  }
  /// To the next step; brings the one after it into the second-level cache, where there is one.
  __device__ void advance(bool more) {
    if (more) prefetch(ahead);
    row += turn, ahead += turn;
  }
};

/// Row g (half 0) or g + 8 of sums, into a part of floats.
template <int D>
__device__ void write_row(float* o, const Sums<D>& z, int half) {
  const int t = threadIdx.x % 4;
  if (!holds<D>(t)) return;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j)
    *reinterpret_cast<float2*>(o + channel<D>(j, t)) = {z[j][2 * half], z[j][2 * half + 1]};
}

}  // namespace flr::cuda::flare
