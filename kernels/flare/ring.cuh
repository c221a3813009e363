// Warps of a block that hold tokens and follow each other round a ring of latents.
//
// Each warp keeps tokens in registers and walks over all latents of their head, 16 at a time; what
// the tokens add to sums over latents goes to sums in shared memory, which a warp has for itself for
// a step. A warp waits for nobody but the one that has its next group before it. The warps of a head
// start evenly spread, so that a neighbour may be late by several steps before anyone waits; and
// warps that drift apart use different units of the processor. (With all warps stepping together the
// same kernels took up to a tenth longer on an H100.)
//
// Every group sees the warps in the same order, round after round: no atomics, the same bits in
// every run. Nobody waits for a step that is not earlier than his own, so there is always one who
// can go on.
#pragma once

#include "common/barrier.cuh"
#include "flare/walk.cuh"

namespace flr::cuda::flare {

/// A group has a barrier for each warp, which says that the warp has left the group. A warp is there
/// once a round, and in a round waits for one other, which it cannot miss twice. One barrier for all
/// would not do: when two warps wait for a third, the later one would take the end of an earlier
/// visit for the one that it waits for.
///
/// Wants as many warps for each head of the block, and no more of them than groups.
class Ring {
 public:
  static constexpr int most_warps = 16, bytes = 8 * most_warps;  ///< of the barriers of a group

  /// Called by a warp for each group of its share, before the block is synchronised.
  __device__ static void init(unsigned barriers) {
    if (threadIdx.x % 32 < most_warps) barrier_init(barriers + threadIdx.x % 32 * 8, 1);
  }
  /// f(group, wait) for all groups of a head, beginning where this warp does. From wait(), which f
  /// calls once, to the end of f nobody else has the group. All warps of the block call this as
  /// often, for heads as Block::each_walk says.
  template <class Block, class F>
  __device__ void each_step(const Block& block, int head, F f) {
    const Order& o = block.walk.order;
    const int together = o.warps / o.heads, place = block.warp / o.heads;
    const int next = place + 1 == together ? 0 : place + 1, residue = block.warp % o.heads;
    // Where this warp starts the last one of the walk before has just been, elsewhere its neighbour.
    int before = next * o.heads + (residue + 1 == o.heads ? 0 : residue + 1);
    unsigned parity = walk_ == 0 ? round_ ^ 1 : round_;
    int segment = place;
    for (int i = 0; i < together; ++i) {
      const unsigned end = block.group(head, (segment + 1) * o.groups / together).at;
      for (auto at = block.group(head, segment * o.groups / together); at.at != end;
           at.at += Block::G::bytes) {
        f(at, [&] { barrier_wait(at.barriers() + 8 * before, parity); });
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(at.barriers() + 8 * block.warp);
      }
      before = next * o.heads + residue, parity = round_;
      segment = segment + 1 == together ? 0 : segment + 1;
    }
    if (++walk_ == o.heads) walk_ = 0, round_ ^= 1;
  }

 private:
  int walk_ = 0;        ///< of this round, one for each head
  unsigned round_ = 0;  ///< its parity
};

}  // namespace flr::cuda::flare
