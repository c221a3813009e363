// How rows are cut into chunks, and how partial sums of chunks are put together. Both depend on the
// problem alone, never on the number of threads.
#pragma once

#include "flr/cpu/dense_vector.hpp"

FLR_CPU_BEGIN
namespace dense {

/// Rows [chunk · size, …) of `rows`, in `count` chunks.
struct RowChunks {
  index_t rows = 0, size = 1, count = 0;
  index_t begin(index_t chunk) const { return chunk * size; }
  index_t length(index_t chunk) const {
    const index_t left = rows - chunk * size;
    return left < size ? left : size;
  }
};

/// Chunks of about `target` rows. Beyond eight, their number is near a multiple of sixteen, which
/// most thread counts share evenly; sizes are multiples of the register tile's six rows.
inline RowChunks cut_rows(index_t rows, index_t target) {
  if (rows <= 0) return {};
  index_t count = (rows + target - 1) / target;
  if (count > 8) count = (count + 15) / 16 * 16;
  index_t size = (rows + count - 1) / count;
  size = (size + 5) / 6 * 6;
  return {rows, size, (rows + size - 1) / size};
}

/// Rows a chunk for layers of width `width`: an activation chunk of 16 KB in float.
inline index_t target_rows(index_t width) {
  const index_t target = 4096 / (width > 0 ? width : 1);
  return target < 24 ? 24 : target > 1024 ? 1024 : target;
}

/// The most groups of chunks that form partial weight gradients of their own, so many that their
/// partial sums take about 32 MB at most.
template <class T>
index_t gradient_groups(index_t chunks, index_t parameters) {
  const index_t bytes = parameters * static_cast<index_t>(sizeof(T));
  index_t most = bytes > 0 ? (index_t{32} << 20) / bytes / 16 * 16 : 64;
  most = most < 16 ? 16 : most > 64 ? 64 : most;
  const index_t wanted =
      ((chunks + 1) / 2 + 15) / 16 * 16;  // two chunks or more share a partial sum
  const index_t groups = wanted < most ? wanted : most;
  return groups < chunks ? groups : chunks;
}

/// Where the sum of `n` elements of every partial goes.
template <class T>
struct PartialSum {
  index_t offset = 0, n = 0;
  T* dst = nullptr;
  GradMode mode = GradMode::ignore;
};

/// dst[i] = (accumulate ? dst[i] : 0) + partial₀[i] + partial₁[i] + …, in this order, for each of
/// `sums`; partial g starts at partials + g · stride.
template <class T>
void reduce_partials(index_t count, index_t stride, const T* partials, const PartialSum<T>* sums,
                     int sum_count) {
  constexpr index_t piece = 1024;
  index_t pieces = 0;
  for (int s = 0; s < sum_count; ++s) pieces += (sums[s].n + piece - 1) / piece;
  parallel_for(pieces, [&](index_t index) {
    const PartialSum<T>* s = sums;
    for (; index >= (s->n + piece - 1) / piece; ++s) index -= (s->n + piece - 1) / piece;
    if (s->mode == GradMode::ignore) return;
    const index_t begin = index * piece, n = s->n - begin < piece ? s->n - begin : piece;
    T* dst = s->dst + begin;
    for_vectors<T>(n, [&](index_t i, auto access) {
      Vec<T> sum = s->mode == GradMode::accumulate ? access.load(dst + i) : Vec<T>{};
      const T* part = partials + s->offset + begin + i;
      for (index_t g = 0; g < count; ++g) sum += access.load(part + g * stride);
      access.store(dst + i, sum);
    });
  });
}

}  // namespace dense
FLR_CPU_END
