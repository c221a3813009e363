// Multi-head softmax self-attention (Vaswani et al. 2017) as a module.
#pragma once

#include "flr/mixers/dropped_attention.hpp"

namespace flr::mixers {

struct SelfAttentionOptions {
  double drop = 0;       ///< behind out_proj
  double attn_drop = 0;  ///< of the attention weights
};

/// qkv_proj: C → 3C, cut into q, k, v, then into heads; scores scaled by D^−½; out_proj: C → C.
template <Floating T>
class SelfAttention : public nn::Module<T> {
 public:
  /// `rotary`, where given, turns q and k by their positions; it must outlive this module.
  SelfAttention(index_t channels, index_t heads, const SelfAttentionOptions& options = {},
                const nn::Rotary<T>* rotary = nullptr)
      : heads_(heads), o_(options), rotary_(rotary), qkv_proj_(channels, 3 * channels),
        out_proj_(channels, channels) {
    nn::head_dim("attention", channels, heads);
    this->add_child("qkv_proj", qkv_proj_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding tokens as keys.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    auto [q, k, v] = nn::split_qkv(qkv_proj_(x), heads_);
    if (rotary_) q = (*rotary_)(q), k = (*rotary_)(k);
    SdpaOptions<A> options;
    options.keep = keep;
    const Tensor<A> y = dropped_attention(q, k, v, options, o_.attn_drop, this->training());
    return dropout(out_proj_(nn::merge_heads(y)), o_.drop, this->training());
  }

 private:
  index_t heads_;
  SelfAttentionOptions o_;
  const nn::Rotary<T>* rotary_;
  nn::Linear<T> qkv_proj_, out_proj_;
};

}  // namespace flr::mixers
