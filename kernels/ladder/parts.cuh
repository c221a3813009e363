// What a split leaves of a softmax-weighted sum, and where it goes.
//
// Two halves of a softmax can be computed apart. Of its own columns each half knows the largest
// score m, the sum of weights l = Σ 2^(s − m) and the weighted values o = Σ 2^(s − m) v, and
// together they are, with M = max(m₁, m₂),
//
//   l = 2^(m₁ − M) l₁ + 2^(m₂ − M) l₂,   o likewise,   result o / l.
//
// Powers of two instead of e: the chip computes 2ˣ, so scores are multiplied by log₂e once, where
// the row is loaded, and every exponential is that instruction alone.
#pragma once

#include "common/device.cuh"
#include "common/mma.cuh"
#include "ladder/ladder.hpp"

namespace flr::cuda::ladder {

inline constexpr float log2_e = 1.44269504088896340736f;

/// [H, splits, rows] of D sums, then m and l.
template <int D>
struct Parts {
  static constexpr int width = D + 2;
  float* data = nullptr;
  int splits = 1;
  __device__ float* at(const Hop& p, int h, int split, index_t i) const {
    return data + ((index_t{h} * splits + split) * p.rows + i) * width;
  }
};

/// Splits of the columns for a kernel that has `blocks` blocks without: enough of them for four
/// blocks a multiprocessor, but each of at least `least` columns.
inline int splits_for(const Hop& p, index_t blocks, index_t least) {
  const index_t wanted = ceil_div(index_t{4} * multiprocessors(), blocks);
  const index_t most = ceil_div(p.columns, least);
  return int(wanted < most ? wanted : most);
}

/// The columns of a split, [first_column(split), first_column(split + 1)).
__device__ inline index_t first_column(const Hop& p, int split, int splits) {
  return p.columns * split / splits;
}

/// out from the parts (merge.cu).
template <int D>
void merge(const Hop&, const Parts<D>&);

}  // namespace flr::cuda::ladder
