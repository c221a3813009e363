// Tokens seen as heads, and heads as tokens: views, nothing moves.
#pragma once

#include <array>

#include "flr/ops.hpp"

namespace flr::nn {

/// Channels in a head; an error in the name of `operation` if they do not divide.
inline index_t head_dim(const char* operation, index_t channels, index_t heads) {
  check(heads > 0 && channels > 0 && channels % heads == 0,
        "[{}] {} channels do not divide into {} heads", operation, channels, heads);
  return channels / heads;
}

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

/// How the 3C channels of a joint projection hold q, k and v.
enum class QkvLayout : unsigned char {
  by_projection,  ///< [q|k|v][head][d], cut first and then split into heads
  by_head,        ///< [head][q|k|v][d], split first: the reference's Linformer and linear attention
};

/// [B,N,3C] → q, k, v [B,H,N,C/H].
template <Floating T>
std::array<Tensor<T>, 3> split_qkv(const Tensor<T>& qkv, index_t heads,
                                   QkvLayout layout = QkvLayout::by_projection) {
  if (layout == QkvLayout::by_head) {
    const auto parts = chunk(split_heads(qkv, heads), 3, -1);
    return {parts[0], parts[1], parts[2]};
  }
  const auto parts = chunk(qkv, 3, -1);
  return {split_heads(parts[0], heads), split_heads(parts[1], heads), split_heads(parts[2], heads)};
}

}  // namespace flr::nn
