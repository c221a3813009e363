// The "ema" layer of FLARE.py (lra/models): MEGA (mega.hpp) with softmax attention, and projections
// of their own for queries and keys.
//
//   e = EMA(x)  (ema_layer.hpp, legacy);  q = silu(W_q e), k = silu(W_k e), v = silu(W_v x)
//   a = softmax(C^−½ q kᵀ) v,  g1 = σ(W_1 e), g2 = σ(W_2 e)
//   y = g2 ⊙ silu(e W_h + (a ⊙ g1) U_h + b_h) + (1 − g2) ⊙ x
#pragma once

#include "flr/mixers/dropped_attention.hpp"
#include "flr/mixers/ema_layer.hpp"

namespace flr::mixers {

struct EmaAttentionOptions {
  index_t channels = 64;
  index_t order = 4;     ///< rates of each channel's average
  double attn_drop = 0;  ///< of the attention weights
};

/// One head, all projections C → C; W_h and U_h are stored [in, out].
template <Floating T>
class EmaAttention : public nn::Module<T> {
 public:
  explicit EmaAttention(const EmaAttentionOptions& o)
      : attn_drop_(o.attn_drop),
        q_proj_(o.channels, o.channels),
        k_proj_(o.channels, o.channels),
        v_proj_(o.channels, o.channels),
        gate_proj1_(o.channels, o.channels),
        gate_proj2_(o.channels, o.channels),
        ema_({o.channels, o.order, true}) {
    this->add_child("q_proj.0", q_proj_);
    this->add_child("k_proj.0", k_proj_);
    this->add_child("v_proj.0", v_proj_);
    this->add_child("ema", ema_);
    this->add_child("gate_proj1.0", gate_proj1_);
    this->add_child("gate_proj2.0", gate_proj2_);
    w_h_ = this->add_parameter("Wh", {o.channels, o.channels}, nn::Role::other);
    u_h_ = this->add_parameter("Uh", {o.channels, o.channels}, nn::Role::other);
    b_h_ = this->add_parameter("bh", {o.channels}, nn::Role::other);
    nn::normal(w_h_, 0.02);
    nn::normal(u_h_, 0.02);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x_in, const Tensor<std::uint8_t>& keep = {}) const {
    const Tensor<A> x = nn::hide_padding_tokens("ema", x_in, keep);
    const Tensor<A> e = ema_(x);
    const auto head = [](const Tensor<A>& t) { return unsqueeze(silu(t), 1); };
    SdpaOptions<A> options;
    options.keep = keep;
    const Tensor<A> a =
        squeeze(dropped_attention(head(q_proj_(e)), head(k_proj_(e)), head(v_proj_(x)), options,
                                  attn_drop_, this->training()),
                1);
    const auto as = [this](const Tensor<T>& p) { return this->template parameter_as<A>(p); };
    const Tensor<A> gated = map(sigmoid(_1) * _2, gate_proj1_(e), a);
    return map(sigmoid(_1) * silu(_2 + _3 + _4) + (1.0 - sigmoid(_1)) * _5, gate_proj2_(e),
               matmul(e, as(w_h_)), matmul(gated, as(u_h_)), as(b_h_), x);
  }

 private:
  double attn_drop_;
  nn::Linear<T> q_proj_, k_proj_, v_proj_, gate_proj1_, gate_proj2_;
  EmaLayer<T> ema_;
  Tensor<T> w_h_, u_h_, b_h_;
};

}  // namespace flr::mixers
