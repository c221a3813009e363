// The gradient of an additive bias: dS itself, summed over the axes along which the bias repeats.
// A pass of its own, whose tasks are blocks of the bias, so that every sum has one owner and a
// fixed order; the other gradients do not pay for it.
#pragma once

#include "flr/cpu/attention_key_block.hpp"

FLR_CPU_BEGIN
namespace attention {

template <class T>
void bias_gradient(const SdpaBackwardParams<T>& p, const QueryStatistics<T>& statistics) {
  const SdpaParams<T>& f = p.f;
  const bool one_b = f.bias_s.batch == 0, one_h = f.bias_s.head == 0, one_row = f.bias_s.row == 0,
             one_column = f.bias_col == 0;
  // A block of the bias is up to 64 rows by one tile of columns, or a single one where it repeats.
  const index_t block_rows = one_row ? std::max<index_t>(1, f.Nq) : 64;
  const index_t block_columns = one_column ? std::max<index_t>(1, f.Nk) : tile_lanes<T>;
  const index_t row_blocks = one_row ? 1 : ceil_div(f.Nq, block_rows);
  const index_t column_blocks = one_column ? 1 : ceil_div(f.Nk, block_columns);
  const index_t hs = one_h ? 1 : f.H;
  parallel_for((one_b ? 1 : f.B) * hs * row_blocks * column_blocks, [&](index_t task) {
    const index_t j0 = task % column_blocks * block_columns;
    const index_t i0 = task / column_blocks % row_blocks * block_rows;
    const index_t place = task / column_blocks / row_blocks, b0 = place / hs, h0 = place % hs;
    const index_t j1 = std::min(f.Nk, j0 + block_columns), i1 = std::min(f.Nq, i0 + block_rows);
    const index_t sum_rows = one_row ? 1 : i1 - i0;
    KeyBlock<T> keys(p, tile_lanes<T>);
    QueryRows<T> rows(p, statistics);
    const detail::Scratch<T> sums(sum_rows * tile_lanes<T>), weight(tile_rows * tile_lanes<T>),
        slope(tile_rows * tile_lanes<T>);
    std::fill_n(sums.data(), sum_rows * tile_lanes<T>, T(0));
    for (index_t b = b0; b < (one_b ? f.B : b0 + 1); ++b)
      for (index_t h = h0; h < (one_h ? f.H : h0 + 1); ++h)
        for (index_t j = j0; j < j1; j += tile_lanes<T>) {
          const index_t n = std::min(tile_lanes<T>, j1 - j);
          keys.load_keys(b, h, j, n);
          for (index_t i = i0; i < i1; i += tile_rows) {
            rows.load_rows(b, h, i, std::min(tile_rows, i1 - i));
            if (keys.beyond(0, rows)) continue;
            keys.tile(rows, 0, weight.data(), slope.data());
            for (index_t r = 0; r < rows.count; ++r) {
              T* const sum = sums.data() + (one_row ? 0 : i - i0 + r) * tile_lanes<T>;
              for (index_t l = 0; l < n; ++l) sum[l] += slope[r * tile_lanes<T> + l];
            }
          }
        }
    T* const to = head(p.dbias, f.bias_s, b0, h0) + i0 * f.bias_s.row + j0 * f.bias_col;
    const bool add = p.dbias_mode == GradMode::accumulate;
    for (index_t r = 0; r < sum_rows; ++r) {
      T* const sum = sums.data() + r * tile_lanes<T>;
      if (one_column)
        for (index_t l = 1; l < tile_lanes<T>; ++l) sum[0] += sum[l];
      for (index_t l = 0; l < (one_column ? 1 : j1 - j0); ++l) {
        T& y = to[r * f.bias_s.row + l * f.bias_col];
        y = add ? y + sum[l] : sum[l];
      }
    }
  });
}

}  // namespace attention
FLR_CPU_END
