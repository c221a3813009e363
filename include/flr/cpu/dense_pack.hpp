// Packing of B into panels, and plain transposition: what makes every product one case.
#pragma once

#include "flr/cpu/dense_kernel.hpp"

FLR_CPU_BEGIN
namespace dense {

/// Elements that k×n takes as panels, padded with zeros to whole panels.
template <class T>
constexpr index_t packed_size(index_t k, index_t n) {
  return (n + panel_columns<T> - 1) / panel_columns<T> * panel_columns<T> * k;
}

/// Packs columns of one panel: element (p, j) of B lies at b[p·row + j·column].
template <class T>
void pack_panel(index_t k, index_t columns, const T* b, index_t row, index_t column, T* out) {
  constexpr int P = panel_columns<T>;
  if (column == 1 && columns == P) {
    for (index_t p = 0; p < k; ++p)
      for (int v = 0; v < tile_vectors; ++v)
        store(out + p * P + v * lanes<T>, load(b + p * row + v * lanes<T>));
    return;
  }
  for (index_t p = 0; p < k; ++p) {
    for (index_t j = 0; j < columns; ++j) out[p * P + j] = b[p * row + j * column];
    for (index_t j = columns; j < P; ++j) out[p * P + j] = 0;
  }
}

/// Packs B (k×n, element (p, j) at b[p·row + j·column]) into out, packed_size(k, n) elements.
template <class T>
RightOperand<T> pack(index_t k, index_t n, const T* b, index_t row, index_t column, T* out) {
  constexpr index_t P = panel_columns<T>;
  for (index_t j = 0; j < n; j += P)
    pack_panel(k, n - j < P ? n - j : P, b + j * column, row, column, out + j * k);
  return {out, P, P * k};
}

/// The same, one panel a chunk on all threads.
template <class T>
RightOperand<T> pack_parallel(index_t k, index_t n, const T* b, index_t row, index_t column,
                              T* out) {
  constexpr index_t P = panel_columns<T>;
  if (k * n < 32768) return pack(k, n, b, row, column, out);
  parallel_for((n + P - 1) / P, [&](index_t panel) {
    const index_t j = panel * P;
    pack_panel(k, n - j < P ? n - j : P, b + j * column, row, column, out + j * k);
  });
  return {out, P, P * k};
}

/// B[k,n] row-major, read in place where its rows are whole vectors and few lines apart, else
/// packed into `room` (packed_size(k, n) elements).
template <class T>
RightOperand<T> right_operand(index_t k, index_t n, const T* b, index_t ldb, T* room) {
  // Rows a large power of two apart would fight for the same cache sets.
  if (n % lanes<T> == 0 && ldb * static_cast<index_t>(sizeof(T)) <= 512)
    return {b, ldb, panel_columns<T>};
  return pack(k, n, b, ldb, index_t{1}, room);
}

}  // namespace dense
FLR_CPU_END
