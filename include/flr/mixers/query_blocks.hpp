// Attention a few queries at a time, for scores that would not fit in memory together.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// How many of `queries` are worked on at once: all that was asked for, or (0) as many as keep
/// `scores` elements for each query of all samples and heads below four million; one at least.
inline index_t query_block(index_t asked, index_t queries, index_t scores) {
  check(asked >= 0, "[query_block] expected a block of 0 (any) or more queries, got {}", asked);
  const index_t fitting = (index_t{1} << 22) / std::max<index_t>(1, scores);
  return std::min(queries, asked > 0 ? asked : std::max<index_t>(1, fitting));
}

/// f(begin, q, shared…) for blocks of the queries [B,H,N,·], which start at `begin`, joined along
/// N. Where there is more than one block, backward makes each again.
template <class F, Floating T, std::same_as<Tensor<T>>... S>
Tensor<T> over_query_blocks(const F& f, index_t block, const Tensor<T>& q, const S&... shared) {
  const index_t n = q.size(2);
  if (block >= n) return f(0, q, shared...);
  std::vector<Tensor<T>> parts;
  for (index_t begin = 0; begin < n; begin += block) {
    const auto part = [f, begin](const Tensor<T>& rows, const S&... rest) {
      return f(begin, rows, rest...);
    };
    parts.push_back(recompute(part, slice(q, 2, begin, std::min(n, begin + block)), shared...));
  }
  return concat(parts, 2);
}

}  // namespace flr::mixers
