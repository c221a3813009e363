// Strided copies: permutations, slices, broadcasts, and their gradients (accumulate).
#pragma once

#include "flr/cpu/fill.hpp"

FLR_CPU_BEGIN

/// A run of n elements with a stride on both sides.
template <class T>
inline void copy_run(const T* src, index_t from, T* dst, index_t to, index_t n, bool accumulate) {
  if (to == 1 && from == 1) {
    if (accumulate)
      add_run(src, dst, n);
    else
      __builtin_memcpy(dst, src, static_cast<unsigned long>(n) * sizeof(T));
  } else if (to == 1 && from == 0 && !accumulate) {
    fill_run(dst, *src, n);
  } else if (accumulate) {
    for (index_t i = 0; i < n; ++i)
      dst[i * to] = static_cast<T>(static_cast<compute_t<T>>(dst[i * to]) +
                                   static_cast<compute_t<T>>(src[i * from]));
  } else {
    for (index_t i = 0; i < n; ++i) dst[i * to] = src[i * from];
  }
}

/// The edge of the square tiles of a transposition: a tile of both operands stays in the
/// first-level cache, and every line of memory that it touches is used whole.
inline constexpr index_t transpose_tile = 32;

/// Source rows are contiguous along `rows`, destination rows along `cols`.
template <class T>
inline void copy_tile(const T* src, index_t src_col, T* dst, index_t dst_row, index_t rows,
                      index_t cols, bool accumulate) {
  T tile[transpose_tile][transpose_tile];
  for (index_t j = 0; j < cols; ++j)
    for (index_t i = 0; i < rows; ++i) tile[i][j] = src[j * src_col + i];
  for (index_t i = 0; i < rows; ++i) copy_run(tile[i], 1, dst + i * dst_row, 1, cols, accumulate);
}

/// dst = src (or +=) over one shape. Overlapping destinations are not allowed.
template <class T>
void copy(const CopyParams<T>& p) {
  if (p.shape.numel() == 0) return;
  // The order of the axes does not matter here, so take the destination's: long runs in dst.
  int order[max_rank];
  const int rank = p.shape.rank();
  const index_t *extent = p.shape.begin(), *from = p.src_strides.begin(),
                *to = p.dst_strides.begin();
  for (int a = 0; a < rank; ++a) {
    int i = a;
    for (; i > 0 && to[order[i - 1]] < to[a]; --i) order[i] = order[i - 1];
    order[i] = a;
  }
  Layout<2> l;
  for (int i = 0; i < rank; ++i) l.append(extent[order[i]], {from[order[i]], to[order[i]]});
  if (l.rank == 0) return copy_run(p.src, 1, p.dst, 1, 1, p.accumulate);

  const int last = l.rank - 1;
  int across = -1;  // the axis that is contiguous in src, if that is not the last
  for (int a = 0; a < last; ++a)
    if (l.stride[0][a] == 1 && l.stride[0][last] > 1) across = a;

  const T* src = p.src;
  T* dst = p.dst;
  const bool accumulate = p.accumulate;
  const index_t n = l.extent[last];
  if (across >= 0 && l.stride[1][last] == 1) {
    const index_t rows = l.extent[across], src_col = l.stride[0][last],
                  dst_row = l.stride[1][across];
    const Layout<2> outer = l.without(last).without(across);
    const index_t bands = ceil_div(rows, transpose_tile);
    parallel_ranges(outer.numel() * bands, larger(1, chunk_elements / (transpose_tile * n)),
                    [&](index_t begin, index_t end) {
                      for (index_t item = begin; item < end; ++item) {
                        const Position<2> at(outer, item / bands);
                        const index_t i = item % bands * transpose_tile;
                        for (index_t j = 0; j < n; j += transpose_tile)
                          copy_tile(src + at.offset[0] + i + j * src_col, src_col,
                                    dst + at.offset[1] + i * dst_row + j, dst_row,
                                    smaller(transpose_tile, rows - i),
                                    smaller(transpose_tile, n - j), accumulate);
                      }
                    });
    return;
  }
  const Layout<2> outer = l.without(last);
  const index_t s0 = l.stride[0][last], s1 = l.stride[1][last];
  const index_t pieces = ceil_div(n, chunk_elements);
  parallel_ranges(outer.numel() * pieces, larger(1, chunk_elements / n),
                  [&](index_t begin, index_t end) {
                    Position<2> at(outer, begin / pieces);
                    for (index_t item = begin, piece = begin % pieces; item < end; ++item) {
                      const index_t i = piece * chunk_elements;
                      copy_run(src + at.offset[0] + i * s0, s0, dst + at.offset[1] + i * s1, s1,
                               smaller(chunk_elements, n - i), accumulate);
                      if (++piece == pieces) piece = 0, at.next();
                    }
                  });
}

FLR_CPU_END
