// Transposing narrow matrices: rows of a head's tokens to one vector a channel, and back.
#pragma once

#include <utility>

#include "flr/cpu/vector.hpp"

FLR_CPU_BEGIN
namespace simd {

namespace detail {

template <class T, int N>
struct BlockRow {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};

/// a₀ b₀ a₁ b₁ … from the lower halves of two vectors, or from the upper.
template <int Upper, class V, int... I>
FLR_ALWAYS_INLINE V interleave(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I), from = Upper * n / 2;
  return __builtin_shufflevector(a, b, (from + I / 2 + I % 2 * n)...);
}

/// A square block in registers: log₂ N times, row i is interleaved with row i + N/2.
template <int Step, int N, class V>
FLR_ALWAYS_INLINE void transpose_registers(V* x) {
  if constexpr (Step < N) {
    constexpr auto all = std::make_integer_sequence<int, N>{};
    V y[N];
    for (int i = 0; i < N / 2; ++i) {
      y[2 * i] = interleave<0>(x[i], x[i + N / 2], all);
      y[2 * i + 1] = interleave<1>(x[i], x[i + N / 2], all);
    }
    for (int i = 0; i < N; ++i) x[i] = y[i];
    transpose_registers<2 * Step, N>(x);
  }
}

/// Transposes columns [column, …) as far as blocks of N reach, and advances `column` past them.
template <int N, class T>
FLR_ALWAYS_INLINE void transpose_blocks(const T* x, index_t x_stride, index_t rows, index_t& column,
                                        index_t columns, T* y, index_t y_stride, T factor) {
  using V = typename BlockRow<T, N>::type;
  for (; column + N <= columns; column += N) {
    index_t row = 0;
    for (; row + N <= rows; row += N) {
      V block[N];
      for (int i = 0; i < N; ++i) {
        std::memcpy(&block[i], x + (row + i) * x_stride + column, sizeof(V));
        block[i] *= factor;
      }
      transpose_registers<1, N>(block);
      for (int i = 0; i < N; ++i)
        std::memcpy(y + (column + i) * y_stride + row, &block[i], sizeof(V));
    }
    for (; row < rows; ++row)
      for (int i = 0; i < N; ++i)
        y[(column + i) * y_stride + row] = x[row * x_stride + column + i] * factor;
  }
}

}  // namespace detail

/// y[column · y_stride + row] = factor · x[row · x_stride + column].
template <class T>
void transpose(const T* x, index_t x_stride, index_t rows, index_t columns, T* y, index_t y_stride,
               T factor = 1) {
  index_t column = 0;
  if constexpr (lanes<T> >= 8)
    if (rows >= 8)
      detail::transpose_blocks<8>(x, x_stride, rows, column, columns, y, y_stride, factor);
  if constexpr (lanes<T> >= 4)
    if (rows >= 4)
      detail::transpose_blocks<4>(x, x_stride, rows, column, columns, y, y_stride, factor);
  for (; column < columns; ++column)
    for (index_t row = 0; row < rows; ++row)
      y[column * y_stride + row] = x[row * x_stride + column] * factor;
}

/// totals[i] = the sum over the lanes of vector i, for as many vectors as a vector has lanes.
template <class T>
FLR_ALWAYS_INLINE Vec<T> sum_each(const T* vectors) {
  constexpr int n = lanes<T>;
  Vec<T> x[n];
  for (int i = 0; i < n; ++i) x[i] = load(vectors + i * n);
  detail::transpose_registers<1, n>(x);
  for (int half = n / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) x[i] += x[i + half];
  return x[0];
}

}  // namespace simd
FLR_CPU_END
