// Rows of a table, and their gradient: rows with one index are added in the order they appear in,
// whichever thread does it.
#pragma once

#include "flr/cpu/fill.hpp"

FLR_CPU_BEGIN

template <class T>
void embedding(const EmbeddingParams<T>& p) {
  if (p.width == 0) return;
  parallel_ranges(p.rows, larger(1, chunk_elements / p.width), [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r)
      __builtin_memcpy(p.y + r * p.width, p.table + p.index[r] * p.width,
                       static_cast<unsigned long>(p.width) * sizeof(T));
  });
}

template <class T>
void embedding_backward(const EmbeddingBackwardParams<T>& p) {
  if (p.mode == GradMode::ignore) return;
  begin_gradient(p.dtable, p.entries * p.width, p.mode);
  if (p.rows == 0 || p.width == 0) return;

  // Counting sort: the rows of entry e, in order, are sorted[first[e]] … sorted[first[e + 1]].
  const flr::detail::Scratch<index_t> first(p.entries + 1), sorted(p.rows);
  for (index_t e = 0; e <= p.entries; ++e) first[e] = 0;
  for (index_t r = 0; r < p.rows; ++r) ++first[p.index[r]];
  for (index_t e = 1; e <= p.entries; ++e) first[e] += first[e - 1];
  for (index_t r = p.rows - 1; r >= 0; --r) sorted[--first[p.index[r]]] = r;

  const index_t mean = ceil_div(p.rows, p.entries);
  parallel_ranges(p.entries, larger(1, chunk_elements / (mean * p.width)),
                  [&](index_t begin, index_t end) {
                    for (index_t e = begin; e < end; ++e) {
                      if (e == p.padding) continue;
                      for (index_t i = first[e]; i < first[e + 1]; ++i)
                        add_run(p.dy + sorted[i] * p.width, p.dtable + e * p.width, p.width);
                    }
                  });
}

FLR_CPU_END
