// Multi-head softmax self-attention (Vaswani et al. 2017) as a module.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// qkv_proj: C → 3C, cut into q, k, v, then into heads; scores scaled by D^−½; out_proj: C → C.
template <Floating T>
class SelfAttention : public nn::Module<T> {
 public:
  SelfAttention(index_t channels, index_t heads, double drop = 0)
      : heads_(heads), drop_(drop), qkv_proj_(channels, 3 * channels), out_proj_(channels, channels) {
    check(heads > 0 && channels % heads == 0, "[attention] {} channels do not divide into {} heads",
          channels, heads);
    this->add_child("qkv_proj", qkv_proj_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B,N] hides padding tokens as keys.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    const auto qkv = chunk(qkv_proj_(x), 3, -1);
    SdpaOptions<A> options;
    options.keep = keep;
    const Tensor<A> y = sdpa(nn::split_heads(qkv[0], heads_), nn::split_heads(qkv[1], heads_),
                             nn::split_heads(qkv[2], heads_), options);
    return dropout(out_proj_(nn::merge_heads(y)), drop_, this->training());
  }

 private:
  index_t heads_;
  double drop_;
  nn::Linear<T> qkv_proj_, out_proj_;
};

}  // namespace flr::mixers
