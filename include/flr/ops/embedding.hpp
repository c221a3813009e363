// Rows of a table, by index.
//
//   y[.., :] = table[index[..], :];   dtable[index] += dy, in the order of the rows.
#pragma once

#include "flr/graph/backward.hpp"

namespace flr {

namespace detail {

/// Refuses an index outside [0, n). Indices are small and on the host when they are made.
inline void check_indices(const char* name, const Tensor<index_t>& index, index_t n) {
  if (!index.device().is_cpu()) return;
  const index_t* p = index.data();
  for (index_t i = 0; i < index.numel(); ++i)
    check(p[i] >= 0 && p[i] < n, "[{}] index {} at position {} is outside [0, {})", name, p[i], i, n);
}

}  // namespace detail

/// index [..] of int64, table [entries, width] → [.., width]. Rows equal to `padding` receive no
/// gradient (−1: none).
template <Floating T>
Tensor<T> embedding(const Tensor<index_t>& index_in, const Tensor<T>& table, index_t padding = -1) {
  check(table.rank() == 2, "[embedding] expected a table [entries, width], got {}", table.shape());
  const Tensor<index_t> index = index_in.is_contiguous() ? index_in : index_in.clone();
  detail::check_indices("embedding", index, table.size(0));
  check(table.is_contiguous(), "[embedding] the table must be contiguous");
  Shape shape = index.shape();
  shape.push_back(table.size(1));
  auto y = Tensor<T>::empty(shape, table.device());
  EmbeddingParams<T> p{index.numel(), table.size(0), table.size(1), index.data(), table.data(),
                       y.mutable_data()};
  backend<T>(table.device()).embedding(p);
  if (recording(table))
    record("embedding", y, Inputs(table), [index, padding](Backward& b) {
      const Tensor<T> dy = b.grad<T>();
      auto dt = b.target<compute_t<T>>(0);
      backend<T>(dy.device()).embedding_backward({index.numel(), dt.tensor().size(0),
                                                  dt.tensor().size(1), padding, index.data(),
                                                  dy.data(), dt.data(), dt.mode()});
    });
  return y;
}

}  // namespace flr
