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

/// Within each 16 bytes, a₀ b₀ a₁ b₁ … from the lower halves of a and b, or from the upper: one
/// instruction, where an interleaving across the register would be several.
template <int Upper, int PerLane, class V, int... I>
FLR_ALWAYS_INLINE V interleave(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(
      a, b, (I / PerLane * PerLane + (Upper * PerLane + I % PerLane) / 2 + I % 2 * n)...);
}
/// Of two block rows, the left (right) blocks of `Size` elements, side by side.
template <int Right, int Size, class V, int... I>
FLR_ALWAYS_INLINE V join(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, ((I & ~Size) + Right * Size + (I & Size ? n : 0))...);
}

/// log₂ rounds transpose squares of 16 bytes a row in place, all side by side.
template <int Step, int PerLane, int N, class V>
FLR_ALWAYS_INLINE void transpose_lanes(V* x) {
  if constexpr (Step < PerLane) {
    constexpr auto all = std::make_integer_sequence<int, N>{};
    V y[N];
    FLR_UNROLL
    for (int r = 0; r < N; r += PerLane) {
      FLR_UNROLL
      for (int i = 0; i < PerLane / 2; ++i) {
        y[r + 2 * i] = interleave<0, PerLane>(x[r + i], x[r + i + PerLane / 2], all);
        y[r + 2 * i + 1] = interleave<1, PerLane>(x[r + i], x[r + i + PerLane / 2], all);
      }
    }
    FLR_UNROLL
    for (int i = 0; i < N; ++i) x[i] = y[i];
    transpose_lanes<2 * Step, PerLane, N>(x);
  }
}
/// Exchanges the blocks of `Size` beside the diagonal, then those of twice the size, …
template <int Size, int N, class V>
FLR_ALWAYS_INLINE void exchange_blocks(V* x) {
  if constexpr (Size < N) {
    constexpr auto all = std::make_integer_sequence<int, N>{};
    FLR_UNROLL
    for (int i = 0; i < N; ++i)
      if (!(i & Size)) {
        const V a = x[i], b = x[i + Size];
        x[i] = join<0, Size>(a, b, all);
        x[i + Size] = join<1, Size>(a, b, all);
      }
    exchange_blocks<2 * Size, N>(x);
  }
}
/// A square block in registers.
template <int N, class V>
FLR_ALWAYS_INLINE void transpose_registers(V* x) {
  constexpr int per_lane = 16 * N / static_cast<int>(sizeof(V));
  transpose_lanes<1, per_lane, N>(x);
  exchange_blocks<per_lane, N>(x);
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
      FLR_UNROLL
      for (int i = 0; i < N; ++i) {
        V v;
        std::memcpy(&v, x + (row + i) * x_stride + column, sizeof v);
        block[i] = v * factor;
      }
      transpose_registers<N>(block);
      FLR_UNROLL
      for (int i = 0; i < N; ++i) {
        const V v = block[i];
        std::memcpy(y + (column + i) * y_stride + row, &v, sizeof v);
      }
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
  FLR_UNROLL
  for (int i = 0; i < n; ++i) x[i] = load(vectors + i * n);
  detail::transpose_registers<n>(x);
  FLR_UNROLL
  for (int half = n / 2; half; half /= 2) {
    FLR_UNROLL
    for (int i = 0; i < half; ++i) x[i] += x[i + half];
  }
  return x[0];
}

}  // namespace simd
FLR_CPU_END
