// Tokens in chunks: what causal mixers compute with inside, and sum their states over across.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// Heads [B,H,N,D] → [B,H,n,c,D] with n = ⌈N/c⌉; the last chunk is filled up.
template <Floating T>
Tensor<T> to_chunks(const Tensor<T>& x, index_t c, double fill = 0) {
  const index_t tokens = x.size(2), chunks = (tokens + c - 1) / c, missing = chunks * c - tokens;
  const auto value = static_cast<T>(static_cast<compute_t<T>>(fill));
  const Tensor<T> whole =
      missing == 0 ? x
                   : concat<T>({x, full<T>({x.size(0), x.size(1), missing, x.size(3)}, value,
                                           x.device())}, 2);
  return reshape(whole, {x.size(0), x.size(1), chunks, c, x.size(3)});
}

/// [B,H,n,c,D] → heads of the first N tokens [B,H,N,D].
template <Floating T>
Tensor<T> from_chunks(const Tensor<T>& x, index_t tokens) {
  return slice(reshape(x, {x.size(0), x.size(1), x.size(2) * x.size(3), x.size(4)}), 2, 0, tokens);
}

/// Ones on and below the diagonal [c,c], zeros above; made on the device.
template <Floating T>
Tensor<T> lower_triangle(index_t c, Device device) {
  const Tensor<T> position = cumsum(ones<T>({c}, device), 0);
  return map(_1 >= _2, reshape(position, {c, 1}), reshape(position, {1, c}));
}

}  // namespace flr::mixers
