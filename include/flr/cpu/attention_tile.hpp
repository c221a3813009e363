// The three products that attention is made of, on a tile of scores that stays in the first-level
// cache. A tile has rows (keys in the forward pass, queries in the backward pass) and lanes (the
// other side): a vector holds one row's values for neighbouring lanes. What belongs to rows lies a
// row at a time, x[row][channel]; what belongs to lanes is transposed, y[channel][lane]. No product
// sums across a vector.
//
// Blocks of 4 × 3 accumulators: twelve independent chains hide the latency of the multiply-add, and
// with three vectors and a broadcast value they fill the sixteen registers of AVX2.
#pragma once

#include "flr/cpu/attention_vector.hpp"

FLR_CPU_BEGIN
namespace attention {

/// Vectors of lanes that are handled together, at most.
inline constexpr int max_group = 3;

/// Calls run(first vector, std::integral_constant of group size) over n vectors; no group of one
/// beside larger ones, since a single chain of vectors leaves the multipliers half idle.
template <class Run>
FLR_ALWAYS_INLINE void for_groups(index_t n, Run&& run) {
  index_t i = 0;
  for (; n - i > 4 || n - i == 3; i += 3) run(i, std::integral_constant<int, 3>{});
  for (; n - i >= 2; i += 2) run(i, std::integral_constant<int, 2>{});
  if (i < n) run(i, std::integral_constant<int, 1>{});
}

/// Tiles are summed on their own before they enter a longer sum, which keeps rounding small.
template <class T>
FLR_ALWAYS_INLINE void add_to(T* sum, std::type_identity_t<Vec<T>> v) {
  store(sum, load(sum) + v);
}

template <int R, int P, class T, class Emit>
FLR_ALWAYS_INLINE void dot_block(const T* x, index_t x_stride, const T* y, index_t y_stride,
                                 index_t depth, Emit&& emit) {
  Vec<T> sum[R][P] = {};
  for (index_t d = 0; d < depth; ++d) {
    Vec<T> column[P];
    FLR_UNROLL
    for (int p = 0; p < P; ++p) column[p] = load(y + d * y_stride + p * lanes<T>);
    FLR_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec<T> value = splat(x[r * x_stride + d]);
      FLR_UNROLL
      for (int p = 0; p < P; ++p) sum[r][p] = fma(value, column[p], sum[r][p]);
    }
  }
  FLR_UNROLL
  for (int r = 0; r < R; ++r) {
    FLR_UNROLL
    for (int p = 0; p < P; ++p) emit(r, p, sum[r][p]);
  }
}

/// Σ_d x[r][d] y[d][lane] for `rows` rows and P vectors of lanes: emit(r, p, vector) takes each.
template <int P, class T, class Emit>
FLR_ALWAYS_INLINE void dots(const T* x, index_t x_stride, index_t rows, const T* y,
                            index_t y_stride, index_t depth, Emit&& emit) {
  index_t r = 0;
  for (; r + 4 <= rows; r += 4)
    dot_block<4, P>(x + r * x_stride, x_stride, y, y_stride, depth,
                    [&](int i, int p, Vec<T> v) FLR_LAMBDA_INLINE { emit(r + i, p, v); });
  for (; r < rows; ++r)
    dot_block<1, P>(x + r * x_stride, x_stride, y, y_stride, depth,
                    [&](int, int p, Vec<T> v) FLR_LAMBDA_INLINE { emit(r, p, v); });
}

template <int N, int P, class T>
FLR_ALWAYS_INLINE void accumulate_block(const T* tile, index_t tile_stride, index_t rows,
                                        const T* x, index_t x_stride, T* sum, index_t sum_stride) {
  Vec<T> acc[N][P] = {};
  for (index_t r = 0; r < rows; ++r) {
    Vec<T> weight[P];
    FLR_UNROLL
    for (int p = 0; p < P; ++p) weight[p] = load(tile + r * tile_stride + p * lanes<T>);
    FLR_UNROLL
    for (int d = 0; d < N; ++d) {
      const Vec<T> value = splat(x[r * x_stride + d]);
      FLR_UNROLL
      for (int p = 0; p < P; ++p) acc[d][p] = fma(value, weight[p], acc[d][p]);
    }
  }
  FLR_UNROLL
  for (int d = 0; d < N; ++d) {
    FLR_UNROLL
    for (int p = 0; p < P; ++p) add_to(sum + d * sum_stride + p * lanes<T>, acc[d][p]);
  }
}

/// sum[d][lane] += Σ_r tile[r][lane] x[r][d] for P vectors of lanes.
template <int P, class T>
void accumulate(const T* tile, index_t tile_stride, index_t rows, const T* x, index_t x_stride,
                index_t depth, T* sum, index_t sum_stride) {
  index_t d = 0;
  for (; d + 4 <= depth; d += 4)
    accumulate_block<4, P>(tile, tile_stride, rows, x + d, x_stride, sum + d * sum_stride,
                           sum_stride);
  for (; d < depth; ++d)
    accumulate_block<1, P>(tile, tile_stride, rows, x + d, x_stride, sum + d * sum_stride,
                           sum_stride);
}

template <int R, int N, class T>
FLR_ALWAYS_INLINE void contract_block(const T* tile, index_t tile_stride, index_t vectors,
                                      const T* y, index_t y_stride, T* sum, index_t sum_stride) {
  Vec<T> acc[R][N] = {};
  for (index_t i = 0; i < vectors; ++i) {
    Vec<T> weight[R];
    FLR_UNROLL
    for (int r = 0; r < R; ++r) weight[r] = load(tile + r * tile_stride + i * lanes<T>);
    FLR_UNROLL
    for (int d = 0; d < N; ++d) {
      const Vec<T> column = load(y + d * y_stride + i * lanes<T>);
      FLR_UNROLL
      for (int r = 0; r < R; ++r) acc[r][d] = fma(column, weight[r], acc[r][d]);
    }
  }
  FLR_UNROLL
  for (int r = 0; r < R; ++r) {
    FLR_UNROLL
    for (int d = 0; d < N; ++d) add_to(sum + r * sum_stride + d * lanes<T>, acc[r][d]);
  }
}

template <int R, class T>
void contract_rows(const T* tile, index_t tile_stride, index_t vectors, const T* y,
                   index_t y_stride, index_t depth, T* sum) {
  index_t d = 0;
  for (; d + 4 <= depth; d += 4)
    contract_block<R, 4>(tile, tile_stride, vectors, y + d * y_stride, y_stride, sum + d * lanes<T>,
                         depth * lanes<T>);
  for (; d < depth; ++d)
    contract_block<R, 1>(tile, tile_stride, vectors, y + d * y_stride, y_stride, sum + d * lanes<T>,
                         depth * lanes<T>);
}

/// sum[r][d] += the tile's row r times y[d], lane by lane: a vector for each r and d, whose lanes
/// the caller adds up when all tiles are done.
template <class T>
void contract(const T* tile, index_t tile_stride, index_t rows, index_t vectors, const T* y,
              index_t y_stride, index_t depth, T* sum) {
  index_t r = 0;
  for (; r + 3 <= rows; r += 3)
    contract_rows<3>(tile + r * tile_stride, tile_stride, vectors, y, y_stride, depth,
                     sum + r * depth * lanes<T>);
  for (; r < rows; ++r)
    contract_rows<1>(tile + r * tile_stride, tile_stride, vectors, y, y_stride, depth,
                     sum + r * depth * lanes<T>);
}

}  // namespace attention
FLR_CPU_END
