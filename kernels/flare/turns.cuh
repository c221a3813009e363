// Warps of a block that hold tokens and take turns at latents.
//
// Each warp keeps tokens in registers and walks over all latents of their head, 16 at a time; what
// the tokens add to sums over latents goes to sums in shared memory, which a warp has for itself for
// a step. Warp w is `stride` groups ahead of the next one of its head, so no two want the same group
// at the same time, and every group sees the warps in the same order: no atomics, the same bits in
// every run. A step may begin when all warps have ended the step `lag` before it: with a lag of two
// a warp that is late for a moment keeps nobody waiting.
#pragma once

#include "common/barrier.cuh"
#include "common/device.cuh"

namespace flr::cuda::flare {

/// How a block's warps are spread over its `heads` heads of `groups` groups each.
struct Order {
  int warps = 1, heads = 1, groups = 1;
  int stride = 1;  ///< groups between two warps of a head: the lag

  /// As many warps as can have groups of their own, at most `most`.
  static Order of(int most, int heads, int groups) {
    Order o{most, heads, groups, 1};
    if (o.warps > heads * groups) o.warps = heads * groups;
    const int together = (o.warps + heads - 1) / heads;
    if (2 * together <= groups) o.stride = 2;
    return o;
  }
};

/// Two barriers in shared memory, for even and for odd steps.
class Turns {
 public:
  /// `at` two words of shared memory, at a multiple of 16 bytes; the caller synchronises the block
  /// before the first step.
  __device__ Turns(void* at, const Order& order)
      : at_(static_cast<unsigned>(__cvta_generic_to_shared(at))), before_(-order.stride),
        other_(order.stride % 2 * 8) {
    if (threadIdx.x == 0)
      for (int i = 0; i < 2; ++i)
        barrier_init(at_ + 8 * i, order.warps);
  }
  /// f(group, wait) for all groups of a head, beginning where this warp does. From wait(), which f
  /// calls once, to the end of f nobody else has the group.
  template <class Block, class F>
  __device__ void each_step(const Block& block, int head, F f) {
    const Order& o = block.walk.order;
    const unsigned end = block.group(head, o.groups).at;
    auto at = block.group(head, block.warp / o.heads * o.stride);
    for (int i = 0; i < o.groups; ++i) {
      f(at, [this] { begin(); });
      this->end();
      at.at += Block::G::bytes;
      if (at.at == end) at.at = block.group(head, 0).at;
    }
  }

 private:
  /// Waits until this warp's step may begin.
  __device__ void begin() const { barrier_wait(barrier(), unsigned(before_ >> 1 & 1)); }
  __device__ void end() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(barrier() ^ other_);
    ++before_;
  }
  __device__ unsigned barrier() const { return at_ + (before_ & 1) * 8; }

  unsigned at_;
  int before_;      ///< the step that must have ended
  unsigned other_;  ///< 8 where this step's barrier is not the one of `before_`
};

}  // namespace flr::cuda::flare
