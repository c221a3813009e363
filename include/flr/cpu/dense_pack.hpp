// Packing of B into panels, and plain transposition: what makes every product one case.
#pragma once

#include <utility>

#include "flr/cpu/dense_kernel.hpp"

FLR_CPU_BEGIN
namespace dense {

/// Elements that k×n takes as panels, padded with zeros to whole panels.
template <class T>
constexpr index_t packed_size(index_t k, index_t n) {
  return (n + panel_columns<T> - 1) / panel_columns<T> * panel_columns<T> * k;
}

/// a₀ b₀ a₁ b₁ … from the lower (Half = 0) or upper (1) halves of a and b.
template <int Half, class T, int... I>
FLR_ALWAYS_INLINE Vec<T> zip(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  constexpr int n = lanes<T>;
  return __builtin_shufflevector(a, b, (Half * n / 2 + I / 2 + I % 2 * n)...);
}

/// to[q·step …] = the q-th elements of `lanes` rows of `from`, for q < lanes: a square block,
/// transposed by zipping row i with row i + lanes/2, log₂ lanes times.
template <class T>
FLR_ALWAYS_INLINE void transpose_block(const T* from, index_t ld, T* to, index_t step) {
  constexpr int n = lanes<T>;
  constexpr auto all = std::make_integer_sequence<int, n>{};
  Vec<T> x[n], y[n];
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) x[i] = load(from + i * ld);
#pragma GCC unroll 4
  for (int half = 1; half < n; half *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      y[2 * i] = zip<0, T>(x[i], x[i + n / 2], all);
      y[2 * i + 1] = zip<1, T>(x[i], x[i + n / 2], all);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) x[i] = y[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) store(to + i * step, x[i]);
}

/// Packs one panel: element (p, j) of B lies at b[p·row + j·column], one of the two being 1.
template <class T>
void pack_panel(index_t k, index_t columns, const T* b, index_t row, index_t column, T* out) {
  constexpr int P = panel_columns<T>, W = lanes<T>;
  for (int v = 0; v < P; v += W, out += W, b += W * column, columns -= W) {
    index_t p = 0;
    if (columns >= W && column == 1) {
      for (; p < k; ++p) store(out + p * P, load(b + p * row));
    } else if (columns >= W && row == 1) {
      for (; p + W <= k; p += W) transpose_block(b + p, column, out + p * P, P);
    }
    for (; p < k; ++p)
      for (int j = 0; j < W; ++j) out[p * P + j] = j < columns ? b[p * row + j * column] : T(0);
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

/// Elements from which packing on several threads pays for waking them.
inline constexpr index_t parallel_packing = 65536;

/// The same, one panel a chunk on all threads.
template <class T>
RightOperand<T> pack_parallel(index_t k, index_t n, const T* b, index_t row, index_t column,
                              T* out) {
  constexpr index_t P = panel_columns<T>;
  if (k * n < parallel_packing) return pack(k, n, b, row, column, out);
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
