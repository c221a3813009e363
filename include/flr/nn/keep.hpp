// Padding masks: keep [B or 1, N] of uint8, 1 for a real token and 0 for padding.
#pragma once

#include "flr/ops.hpp"

namespace flr::nn {

/// The mask as factors for heads [B,H,N,D]: [B or 1, 1, N, 1].
template <Floating T>
Tensor<T> keep_factors(const char* operation, const Tensor<std::uint8_t>& keep, index_t batch,
                       index_t tokens) {
  check(keep.rank() == 2 && (keep.size(0) == batch || keep.size(0) == 1) && keep.size(1) == tokens,
        "[{}] expected a keep-mask [{} or 1, {}], got {}", operation, batch, tokens, keep.shape());
  return reshape(keep.template to<T>(), {keep.size(0), 1, tokens, 1});
}

/// Heads [B,H,N,D] with zeros where the mask hides a token; without a mask x itself.
template <Floating T>
Tensor<T> hide_padding(const char* operation, const Tensor<T>& x,
                       const Tensor<std::uint8_t>& keep) {
  if (!keep.defined()) return x;
  return x * keep_factors<T>(operation, keep, x.size(0), x.size(2));
}

/// The same for tokens [B,N,C].
template <Floating T>
Tensor<T> hide_padding_tokens(const char* operation, const Tensor<T>& x,
                              const Tensor<std::uint8_t>& keep) {
  if (!keep.defined()) return x;
  return x * squeeze(keep_factors<T>(operation, keep, x.size(0), x.size(1)), 1);
}

/// How many of a sample's tokens are real, to divide sums over tokens by: [B or 1, 1, 1, 1]. A sample
/// that is all padding counts as one token.
template <Floating T>
Tensor<T> real_tokens(const char* operation, const Tensor<T>& heads,
                      const Tensor<std::uint8_t>& keep) {
  const index_t tokens = heads.size(2);
  if (!keep.defined())
    return full<T>({1, 1, 1, 1}, static_cast<T>(static_cast<compute_t<T>>(tokens)), heads.device());
  return maximum(sum(keep_factors<T>(operation, keep, heads.size(0), tokens), {2}, true), 1);
}

}  // namespace flr::nn
