// How the general attention kernels cut a call into blocks; host code, no kernel.
#pragma once

#include <algorithm>

#include "common/stream.hpp"

namespace flr::cuda::attention {

/// Threads of a block: four warps.
inline constexpr int threads = 128, warps = threads / 32;

/// Every kernel owns rows of one operand (queries or keys), keeps them in registers and loops over
/// the rows of the other. The warps of a block share a tile of the other operand: `own_warps` hold
/// different rows, and `loop_warps` groups of these take different parts of each tile. Where the
/// blocks are too few for the chip, the loop is cut into `splits` of `span` rows, whose results are
/// merged in order. A function of the sizes and of the number of multiprocessors only.
struct Plan {
  index_t heads = 0, own = 0, loop = 0;  ///< B·H, rows owned and looped over in a head
  index_t blocks = 1;                    ///< of the rows of a head
  int own_warps = 1, loop_warps = warps;
  index_t splits = 1, span = 0;

  constexpr index_t units() const { return heads * blocks * splits; }
};

/// When the loop is cut into splits.
struct SplitRule {
  index_t least = 128;      ///< rows in a split: fewer are not worth the merging
  index_t accurate = 2048;  ///< terms that one thread adds up, where memory allows
};

/// `group` rows belong to a warp, `tile` rows are looped over at a time, `resident` blocks fit a
/// multiprocessor, a row of a partial result has `width` numbers.
inline Plan make_plan(index_t heads, index_t own, index_t loop, int group, int tile, int resident,
                      index_t width, const SplitRule& rule = {}) {
  constexpr index_t part_numbers = 1 << 24;  // in all partial results made for accuracy's sake
  const index_t processors = multiprocessors();
  Plan p;
  p.heads = heads, p.own = own, p.loop = loop;
  const index_t groups = ceil_div(own, group);
  p.own_warps = warps;
  while (p.own_warps > 1 &&
         (p.own_warps / 2 >= groups || heads * ceil_div(groups, p.own_warps) < processors))
    p.own_warps /= 2;
  p.loop_warps = warps / p.own_warps;
  p.blocks = ceil_div(groups, p.own_warps);

  const index_t base = std::max<index_t>(1, heads * p.blocks);
  const index_t wave = std::max<index_t>(1, processors * resident / base);
  const index_t affordable = part_numbers / std::max<index_t>(1, heads * own * width);
  const index_t wanted = std::min(ceil_div(loop, rule.accurate * p.loop_warps), affordable);
  // Whole waves of blocks, so that none of them is nearly empty.
  p.splits = wave * std::max<index_t>(1, ceil_div(wanted, wave));
  p.splits = std::max<index_t>(1, std::min(p.splits, ceil_div(loop, rule.least)));
  p.span = ceil_div(std::max<index_t>(1, ceil_div(loop, p.splits)), tile) * tile;
  p.splits = std::max<index_t>(1, ceil_div(loop, p.span));
  return p;
}

/// Blocks of a launch; kernels stride over the units beyond.
inline unsigned grid_of(const Plan& p) {
  return static_cast<unsigned>(std::min<index_t>(p.units(), index_t{1} << 30));
}

}  // namespace flr::cuda::attention
