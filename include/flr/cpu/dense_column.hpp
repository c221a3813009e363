// Products with a single column: one dot product a row, along the row.
#pragma once

#include "flr/cpu/dense_vector.hpp"

FLR_CPU_BEGIN
namespace dense {

/// c[i · step] = Σ a[i · row + p] b[p] for i < m, or c + that where `add`.
template <class T>
void multiply_column(index_t m, index_t k, const T* a, index_t row, const T* b, T* c, index_t step,
                     bool add) {
  constexpr int together = 4;  // rows, to hide the latency of one chain of additions
  const index_t whole = k / lanes<T> * lanes<T>;
  for (index_t i = 0; i < m; i += together) {
    const T* from[together];
    Vec<T> sums[together] = {};
    for (int r = 0; r < together; ++r) from[r] = a + (i + r < m ? i + r : m - 1) * row;
    for (index_t p = 0; p < whole; p += lanes<T>) {
      const Vec<T> right = load(b + p);
      for (int r = 0; r < together; ++r) sums[r] = fma(load(from[r] + p), right, sums[r]);
    }
    for (int r = 0; r < together && i + r < m; ++r) {
      T total = sum<T>(sums[r]);
      for (index_t p = whole; p < k; ++p) total += from[r][p] * b[p];
      c[(i + r) * step] = add ? c[(i + r) * step] + total : total;
    }
  }
}

}  // namespace dense
FLR_CPU_END
