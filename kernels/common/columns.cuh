// Reductions along the middle axis of [outer, n, inner] followed by a write of every element, for
// rows too long for registers and for inner > 1.
//
// A block takes up to 64 neighbouring columns (o, i) and a span of n: thread (x, y) walks column x
// over j = y, y + height, …, neighbouring threads reading neighbouring elements; with inner = 1 all
// threads lie along n. Where columns are few, n is split over several blocks, whose states are
// merged in order by a second launch.
#pragma once

#include "device.cuh"

namespace flr::cuda {

inline constexpr int column_threads = 256, max_column_splits = 64;
/// Elements that a thread fetches before it uses the first of them.
inline constexpr int column_batch = 4;

struct ColumnTiles {
  index_t n, inner, tiles, splits, span, items;
  int width, height;
};

inline ColumnTiles column_tiles(index_t outer, index_t n, index_t inner) {
  ColumnTiles t{n, inner, ceil_div(inner, 64), 1, n, 0, 0, 0};
  t.width = int(ceil_div(inner, t.tiles));
  t.height = column_threads / t.width;
  const index_t blocks = outer * t.tiles, most = ceil_div(n, index_t{t.height} * 16);
  t.splits = ceil_div(1056, blocks);
  if (t.splits > max_column_splits) t.splits = max_column_splits;
  if (t.splits > most) t.splits = most;
  t.span = ceil_div(n, t.splits);
  t.items = blocks * t.splits;
  return t;
}

/// Op: State empty(), void add(State&, at, stride, count ≤ column_batch), State merge(a, b),
/// void write(state, at). Reduction (first launch) and, if n is not split, the write in one.
/// With `merge_only` the states are there, and each block writes its span.
template <class Op>
__global__ void __launch_bounds__(column_threads)
    reduce_columns(Op op, ColumnTiles t, typename Op::State* states, bool merge_only) {
  using State = typename Op::State;
  __shared__ State shared[column_threads];
  const int x = int(threadIdx.x) % t.width, y = int(threadIdx.x) / t.width;
  for (index_t item = blockIdx.x; item < t.items; item += gridDim.x) {
    const index_t split = item % t.splits, tile = item / t.splits;
    const index_t i = tile % t.tiles * t.width + x, base = tile / t.tiles * t.n * t.inner + i;
    const bool mine = y < t.height && i < t.inner;
    const index_t from = split * t.span;
    const index_t to = from + t.span < t.n ? from + t.span : t.n;

    State state = op.empty();
    if (merge_only) {
      if (mine && y == 0)
        for (index_t s = 0; s < t.splits; ++s)
          state = op.merge(state, states[(tile * t.splits + s) * t.width + x]);
      shared[threadIdx.x] = state;
    } else {
      const index_t stride = t.height * t.inner, step = index_t{t.height} * column_batch;
      if (mine)
        for (index_t j = from + y; j < to; j += step) {
          const index_t left = ceil_div(to - j, t.height);
          op.add(state, base + j * t.inner, stride, left < column_batch ? int(left) : column_batch);
        }
      shared[threadIdx.x] = state;
      // A tree over the thread rows; `height` is at most 256.
      for (int d = column_threads / 2; d > 0; d /= 2) {
        __syncthreads();
        if (y < d && y + d < t.height)
          shared[threadIdx.x] = op.merge(shared[threadIdx.x], shared[threadIdx.x + d * t.width]);
      }
    }
    __syncthreads();
    state = shared[x];
    __syncthreads();  // before the next item overwrites it
    if (!merge_only && t.splits > 1) {
      if (mine && y == 0) states[item * t.width + x] = state;
      continue;
    }
    if (mine)
      for (index_t j = from + y; j < to; j += t.height) op.write(state, base + j * t.inner);
  }
}

/// Runs `op` over all columns of [outer, n, inner], none of which is 0.
template <class Op>
void over_columns(const Op& op, index_t outer, index_t n, index_t inner, const char* name) {
  const ColumnTiles t = column_tiles(outer, n, inner);
  const Scratch<typename Op::State> states(t.splits > 1 ? t.items * t.width : 0);
  const unsigned blocks = grid_for(t.items, 1);
  for (int merge = 0; merge <= (t.splits > 1); ++merge) {
    reduce_columns<<<blocks, column_threads, 0, stream()>>>(op, t, states.data(), merge == 1);
    check_launch(name);
  }
}

}  // namespace flr::cuda
