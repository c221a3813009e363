// The walk of warps with tokens over latents in shared memory (ring.cuh): what lies there, who goes
// where, and how many blocks there are.
#pragma once

#include "common/shared.cuh"
#include "common/resident_blocks.hpp"
#include "flare/token_sums.cuh"

namespace flr::cuda::flare {

/// What shared memory holds of 16 latents: their sums, then `Fragments` Rows as B of scores, then
/// `Quads` statistics in float4, all in the order in which a lane needs them; and bytes for barriers.
template <int D, int Fragments, int Quads, int Barriers = 0>
struct Group {
  static constexpr int sums = regs<D> * 512, rows = regs<D> * 256;
  static constexpr int bytes = sums + Fragments * rows + 64 * Quads + Barriers;

  unsigned at;

  __device__ static int lane() { return threadIdx.x % 32; }
  __device__ unsigned barriers() const { return at + bytes - Barriers; }
  __device__ void load_sums(Sums<D>& c) const {
#pragma unroll
    for (int j = 0; j < regs<D>; ++j) {
      const float4 x = load4(at + j * 512 + lane() * 16);
      c[j][0] = x.x, c[j][1] = x.y, c[j][2] = x.z, c[j][3] = x.w;
    }
  }
  __device__ void save_sums(const Sums<D>& c) const {
#pragma unroll
    for (int j = 0; j < regs<D>; ++j)
      save4(at + j * 512 + lane() * 16, {c[j][0], c[j][1], c[j][2], c[j][3]});
  }
  /// Two registers of each half at a time: the pairs that a product takes lie together.
  __device__ Rows<D> rows_of(int i) const {
    Rows<D> r;
    if constexpr (D < 16) {
      const uint2 x = load2(at + sums + i * rows + lane() * 8);
      r.lo[0] = x.x, r.hi[0] = x.y;
    } else {
#pragma unroll
      for (int j = 0; j + 1 < regs<D>; j += 2) {
        const float4 x = load4(at + sums + i * rows + j * 256 + lane() * 16);
        r.lo[j] = __float_as_uint(x.x), r.lo[j + 1] = __float_as_uint(x.y);
        r.hi[j] = __float_as_uint(x.z), r.hi[j + 1] = __float_as_uint(x.w);
      }
    }
    return r;
  }
  __device__ void save_rows(int i, const Rows<D>& r) const {
    if constexpr (D < 16) {
      save2(at + sums + i * rows + lane() * 8, {r.lo[0], r.hi[0]});
    } else {
#pragma unroll
      for (int j = 0; j + 1 < regs<D>; j += 2)
        save4(at + sums + i * rows + j * 256 + lane() * 16,
              {__uint_as_float(r.lo[j]), __uint_as_float(r.lo[j + 1]), __uint_as_float(r.hi[j]),
               __uint_as_float(r.hi[j + 1])});
    }
  }
  /// Four numbers for the columns of lane t.
  __device__ float4 quad(int i) const {
    return load4(at + sums + Fragments * rows + 64 * i + threadIdx.x % 4 * 16);
  }
  __device__ float& statistic(int i, int place) const {
    return *static_cast<float*>(
        __cvta_shared_to_generic(at + sums + Fragments * rows + 64 * i + 4 * place));
  }
};

/// How a block's warps are spread over its `heads` heads of `groups` groups each: as many for each.
struct Order {
  int warps = 1, heads = 1, groups = 1;
};

/// One launch: groups of 16 latents from `group` on against a range of the tokens. Parts of an earlier
/// range are added to.
struct Walk {
  Sizes n;
  Order order;
  int group = 0;
  index_t begin = 0, end = 0;
};
/// A pair of numbers for each of at most 16 heads, before the groups.
constexpr int fixed_bytes = 16 * 8;

/// Where a block is: its heads, and what its warps walk over with 16 T tokens each.
template <class Group_, int D, int T>
struct Block {
  using G = Group_;
  const Walk& walk;
  unsigned char* shared;
  int warp = threadIdx.x / 32, b, h0;

  __device__ Block(const Walk& walk, unsigned char* shared) : walk(walk), shared(shared) {
    const int head_blocks = walk.n.H / walk.order.heads;
    b = blockIdx.y / head_blocks, h0 = blockIdx.y % head_blocks * walk.order.heads;
  }
  __device__ float2* pairs() const { return reinterpret_cast<float2*>(shared); }
  __device__ G group(int head, int i) const {
    return {static_cast<unsigned>(__cvta_generic_to_shared(shared)) + fixed_bytes +
            (head * walk.order.groups + i) * G::bytes};
  }
  /// f(head of the block, its group, first row) for the warp's share of all groups.
  template <class F>
  __device__ void each_group(F f) const {
    const Order& o = walk.order;
    for (int item = warp; item < o.heads * o.groups; item += o.warps)
      f(item / o.groups, item % o.groups, (walk.group + item % o.groups) * 16);
  }
  /// f(first token, head of the block, whether there are tokens), as often in every warp.
  template <class F>
  __device__ void each_walk(F f) const {
    const Order& o = walk.order;
    const index_t N = walk.end - walk.begin, tokens = 16 * T, at_once = index_t{gridDim.x} * o.warps;
    const index_t rounds = ((N + tokens - 1) / tokens + at_once - 1) / at_once;
    for (index_t round = 0; round < rounds; ++round) {
      const index_t first = walk.begin + (round * at_once + index_t{blockIdx.x} * o.warps + warp) * tokens;
      for (int j = 0; j < o.heads; ++j) f(first, (warp + j) % o.heads, first < walk.end);
    }
  }
  /// The block's part of parts [B,H,splits,M,width] of a head.
  template <class U>
  __device__ U* part(U* parts, int head, int width) const {
    const index_t h = index_t{b} * walk.n.H + h0 + head;
    return parts + (h * gridDim.x + blockIdx.x) * walk.n.M * width;
  }
  /// Writes the sums as the block's part, or adds them to those of earlier tokens.
  __device__ void write_parts(float* parts) const {
    each_group([&](int head, int i, int row) {
      Sums<D> c;
      group(head, i).load_sums(c);
      put_part<D>(part(parts, head, D), row, walk.n.M, c, walk.begin > 0);
    });
  }
};

struct Plan {
  Order order;
  int passes = 1, shared = 0;
  unsigned splits = 1, others = 1;
  index_t range = 0;  ///< of tokens: all passes go over it before the next one
};

/// How heads and warps go to blocks, one a multiprocessor: what ends first by a rough count. A walk
/// of a warp takes as many steps as there are groups; a step takes longer beside more warps.
inline Order best_order(const Sizes& n, index_t tiles, int most_warps, int groups, int room) {
  Order best;
  double least = INFINITY;
  for (int heads = 1; heads <= 16 && n.H % heads == 0 && heads * groups <= room; heads *= 2)
    for (int warps = most_warps; warps >= 4; warps /= 2) {
      const Order order{warps < heads * groups ? warps : heads * groups, heads, groups};
      if (order.warps % heads != 0) continue;
      const index_t others = index_t{n.B} * (n.H / heads), blocks = multiprocessors() / others;
      const index_t splits = blocks > 0 ? blocks : 1, waves = ceil_div(others * splits, multiprocessors());
      const index_t rounds = ceil_div(tiles, splits * order.warps);
      const double step = (2.4 + 0.23 * order.warps) * (2 * order.warps > heads * groups ? 1.1 : 1);
      const double setup = 4. * heads * groups / order.warps;
      const double time = double(waves) * (double(rounds) * heads * groups + setup) * step;
      // Neighbouring heads share the sectors that rows of tokens are read in.
      if (time < least * (heads > best.heads ? 1.02 : 0.98)) least = time, best = order;
    }
  return best;
}
/// For warps of `tokens` tokens each, at most `warps` a block. `carried`: gradients of tokens that are
/// sums over all latents.
template <class Kernel>
Plan plan_for(const char* what, Kernel* kernel, const Sizes& n, int tokens, int warps,
              int group_bytes, int carried) {
  const int room = (max_shared_bytes() - fixed_bytes) / group_bytes, all = (n.M + 15) / 16;
  Plan plan;
  plan.passes = (all + room - 1) / room;
  const index_t tiles = ceil_div(n.N, tokens);
  plan.order = best_order(n, tiles, warps, (all + plan.passes - 1) / plan.passes, room);
  plan.shared = fixed_bytes + plan.order.heads * plan.order.groups * group_bytes;
  plan.others = unsigned(n.B * (n.H / plan.order.heads));
  allow_shared(kernel, plan.shared, what);
  plan.splits = resident_blocks(kernel, 32 * plan.order.warps, plan.shared, plan.others,
                                ceil_div(tiles, plan.order.warps));
  plan.range = n.N;
  if (plan.passes > 1 && carried > 0) {
    const index_t round = index_t{plan.splits} * plan.order.warps * tokens;
    const index_t rounds = most_carried_bytes / (index_t{n.B} * n.H * n.D * 4 * carried * round);
    const index_t range = (rounds > 0 ? rounds : 1) * round;
    plan.range = range < n.N ? range : n.N;
  }
  return plan;
}

/// Calls f for every launch of a pass that has a walk, and dk and dv of tokens.
template <class P, class F>
void each_launch(P pass, const Sizes& n, const Plan& plan, F f) {
  pass.walk = {n, plan.order};
  pass.dk.rows = pass.dv.rows = plan.range;
  for (index_t begin = 0; begin < n.N; begin += plan.range)
    for (int i = 0; i < plan.passes; ++i) {
      pass.walk.group = i * plan.order.groups;
      pass.walk.begin = pass.dk.first_row = pass.dv.first_row = begin;
      pass.walk.end = begin + plan.range < n.N ? begin + plan.range : n.N;
      pass.dk.first = pass.dv.first = i == 0;
      pass.dk.last = pass.dv.last = i + 1 == plan.passes;
      f(pass);
    }
}

}  // namespace flr::cuda::flare
