// The register tile of matrix products: C[≤6 rows][≤2 vectors] += A · B over one stretch of k.
//
// Every element of C is one chain of fused multiply-adds in the order of k, whichever tile computes
// it, so results do not depend on how rows are cut. 6×2 accumulators, two vectors of B and one
// broadcast of A fill the sixteen registers of SSE and AVX2, and hide the latency of two FMA units.
#pragma once

#include "flr/cpu/dense_vector.hpp"

FLR_CPU_BEGIN
namespace dense {

/// Rows and vectors of the register tile, and the columns that a panel of B has.
inline constexpr int tile_rows = 6, tile_vectors = 2;
template <class T>
inline constexpr int panel_columns = tile_vectors* lanes<T>;

/// A as an m×k operand: element (i, p) at data[i·row + p·column].
template <class T>
struct LeftOperand {
  const T* data;
  index_t row, column;
};

/// B as panels of panel_columns columns: row p of panel j at data[j·panel + p·row], all of its
/// columns readable. A packed matrix has row = panel_columns; a plain one whose width is a multiple
/// of the vector length can be read in place with panel = panel_columns.
template <class T>
struct RightOperand {
  const T* data;
  index_t row, panel;
};

template <class T, int Rows, int Vectors>
void tile(index_t k, LeftOperand<T> a, const T* b, index_t b_row, T* c, index_t ldc, bool add) {
  constexpr int W = lanes<T>;
  Vec<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) sum[i][v] = add ? load(c + i * ldc + v * W) : Vec<T>{};
  for (index_t p = 0; p < k; ++p) {
    Vec<T> row[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) row[v] = load(b + v * W);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec<T> left = splat(a.data[i * a.row]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[i][v] = fma(left, row[v], sum[i][v]);
    }
    a.data += a.column;
    b += b_row;
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store(c + i * ldc + v * W, sum[i][v]);
}

template <class T, int Vectors>
void tile(index_t rows, index_t k, LeftOperand<T> a, const T* b, index_t b_row, T* c, index_t ldc,
          bool add) {
  switch (rows) {
    case 1: return tile<T, 1, Vectors>(k, a, b, b_row, c, ldc, add);
    case 2: return tile<T, 2, Vectors>(k, a, b, b_row, c, ldc, add);
    case 3: return tile<T, 3, Vectors>(k, a, b, b_row, c, ldc, add);
    case 4: return tile<T, 4, Vectors>(k, a, b, b_row, c, ldc, add);
    case 5: return tile<T, 5, Vectors>(k, a, b, b_row, c, ldc, add);
    default: return tile<T, 6, Vectors>(k, a, b, b_row, c, ldc, add);
  }
}

/// A tile whose last vector is only partly inside C goes through a copy.
template <class T, int Vectors>
void partial_tile(index_t rows, index_t columns, index_t k, LeftOperand<T> a, const T* b,
                  index_t b_row, T* c, index_t ldc, bool add) {
  constexpr int width = Vectors * lanes<T>;
  alignas(64) T copy[tile_rows * width] = {};
  if (add)
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < columns; ++j) copy[i * width + j] = c[i * ldc + j];
  tile<T, Vectors>(rows, k, a, b, b_row, copy, width, add);
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j) c[i * ldc + j] = copy[i * width + j];
}

/// All rows against one panel; `columns` of it lie inside C.
template <class T, int Vectors>
void multiply_panel(index_t m, index_t columns, index_t k, LeftOperand<T> a, const T* b,
                    index_t b_row, T* c, index_t ldc, bool add) {
  const bool whole = columns == Vectors * lanes<T>;
  for (index_t i = 0; i < m; i += tile_rows) {
    const index_t rows = m - i < tile_rows ? m - i : tile_rows;
    const LeftOperand<T> left{a.data + i * a.row, a.row, a.column};
    if (whole)
      tile<T, Vectors>(rows, k, left, b, b_row, c + i * ldc, ldc, add);
    else
      partial_tile<T, Vectors>(rows, columns, k, left, b, b_row, c + i * ldc, ldc, add);
  }
}

/// C[m,n] = A B, or C + A B where `add`, on the calling thread. C is row-major.
template <class T>
void multiply(index_t m, index_t n, index_t k, LeftOperand<T> a, RightOperand<T> b, T* c,
              index_t ldc, bool add) {
  // A stretch of a panel (16 KB) stays in the first-level cache while all rows pass it.
  constexpr index_t stretch = 256;
  for (index_t p = 0; p == 0 || p < k; p += stretch) {
    const index_t depth = k - p < stretch ? k - p : stretch;
    const LeftOperand<T> left{a.data + p * a.column, a.row, a.column};
    for (index_t j = 0; j < n; j += panel_columns<T>) {
      const index_t columns = n - j < panel_columns<T> ? n - j : panel_columns<T>;
      const T* panel = b.data + j / panel_columns<T> * b.panel + p * b.row;
      if (columns > lanes<T>)
        multiply_panel<T, 2>(m, columns, depth, left, panel, b.row, c + j, ldc, add || p);
      else
        multiply_panel<T, 1>(m, columns, depth, left, panel, b.row, c + j, ldc, add || p);
    }
  }
}

}  // namespace dense
FLR_CPU_END
