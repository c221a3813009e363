// Attention of every query to all pairs of tokens: what third-order and Strassen attention share.
//
//   y_i = Σ_jk w_ijk v1_j ⊙ v2_k,   w_i = softmax over the pairs (j, k) of s_ijk
// N³ weights in all. A block of queries is worked on at a time, one at least, so that memory is
// O(N²).
#pragma once

#include "flr/mixers/query_blocks.hpp"

namespace flr::mixers {

namespace detail {

template <Floating T>
void check_triples(const char* operation, std::initializer_list<const Tensor<T>*> heads) {
  const Shape& shape = (*heads.begin())->shape();
  for (const Tensor<T>* t : heads)
    check(shape.rank() == 4 && t->shape() == shape,
          "[{}] expected all of a, b, c, v1 and v2 as [B,H,N,D]; got {} and {}", operation, shape,
          t->shape());
}

/// Which pairs are of real tokens: [B or 1, 1, 1, N, N]; undefined without a mask.
template <Floating T>
Tensor<T> pair_mask(const char* operation, const Tensor<T>& heads,
                    const Tensor<std::uint8_t>& keep) {
  if (!keep.defined()) return {};
  const Tensor<T> k = nn::keep_factors<T>(operation, keep, heads.size(0), heads.size(2));
  return unsqueeze(k * transpose(k, 2, 3), 2);
}

/// Weights [B,H,I,N,N] of pairs, v1 and v2 [B,H,N,D] → Σ_jk w_ijk v1_j ⊙ v2_k [B,H,I,D].
template <Floating T>
Tensor<T> sum_pairs(const Tensor<T>& w, const Tensor<T>& v1, const Tensor<T>& v2) {
  const index_t b = v1.size(0), h = v1.size(1), n = v1.size(2), d = v1.size(3), i = w.size(2);
  const Tensor<T> over_k = matmul(reshape(w, {b, h, i * n, n}), v2);
  return sum(reshape(over_k, {b, h, i, n, d}) * unsqueeze(v1, 2), {3});
}

/// The same with the softmax of scores [B,H,I,N,N] over visible pairs.
template <Floating T>
Tensor<T> attend_to_pairs(const Tensor<T>& scores, const Tensor<T>& mask, const Tensor<T>& v1,
                          const Tensor<T>& v2) {
  const Shape shape = scores.shape();
  const Tensor<T> s = mask.defined() ? map(where(_2, _1, -1e30), scores, mask) : scores;
  const Tensor<T> flat = reshape(s, {shape[0], shape[1], shape[2], shape[3] * shape[4]});
  return sum_pairs(reshape(softmax(flat, 3), shape), v1, v2);
}

}  // namespace detail

}  // namespace flr::mixers
