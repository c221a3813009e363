// Tokens seen as heads, and heads as tokens: views, nothing moves.
#pragma once

#include "flr/ops.hpp"

namespace flr::nn {

/// [B,N,H·D] → [B,H,N,D].
template <Floating T>
Tensor<T> split_heads(const Tensor<T>& x, index_t heads) {
  check(x.rank() == 3 && heads > 0 && x.size(2) % heads == 0,
        "[split_heads] {} channels of {} do not divide into {} heads", x.size(-1), x.shape(), heads);
  return permute(reshape(x, {x.size(0), x.size(1), heads, x.size(2) / heads}), {0, 2, 1, 3});
}

/// [B,H,N,D] → [B,N,H·D].
template <Floating T>
Tensor<T> merge_heads(const Tensor<T>& x) {
  return reshape(permute(x, {0, 2, 1, 3}), {x.size(0), x.size(2), x.size(1) * x.size(3)});
}

}  // namespace flr::nn
