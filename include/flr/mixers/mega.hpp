// MEGA: gated attention of one head on exponentially averaged tokens (Ma, Zhou, Kong, He, Gui,
// Neubig, May & Zettlemoyer 2022, arXiv 2209.10655, §3).
//
//   e = EMA(x)                                                     (ema_layer.hpp)
//   z = silu(W_z e), q = κ_q ⊙ z + μ_q, k = κ_k ⊙ z + μ_k, v = silu(W_v x)
//   o = laplace(q kᵀ/N + b_rel) v,  γ = silu(W_γ e), φ = σ(W_φ e)
//   y = φ ⊙ silu(W_h e + U_h (γ ⊙ o) + b_h) + (1 − φ) ⊙ x
// The layer of FLARE's reference is ema_attention.hpp.
#pragma once

#include "flr/mixers/ema_layer.hpp"
#include "flr/mixers/laplace.hpp"

namespace flr::mixers {

struct MegaOptions {
  index_t channels = 64;
  index_t shared = 0;      ///< width of z, q and k; 0: channels
  index_t values = 0;      ///< width of v and γ; 0: 2 · channels
  index_t order = 16;      ///< rates of each channel's average
  index_t max_length = 0;  ///< of the relative bias; 0: no bias
  index_t block = 0;       ///< queries at once; 0: chosen by memory
};

template <Floating T>
class Mega : public nn::Module<T> {
 public:
  explicit Mega(const MegaOptions& o_in)
      : o_(filled(o_in)),
        ema_({o_.channels, o_.order, false}),
        z_proj_(o_.channels, o_.shared),
        v_proj_(o_.channels, o_.values),
        gate_proj1_(o_.channels, o_.values),
        gate_proj2_(o_.channels, o_.channels),
        h_proj_(o_.channels, o_.channels),
        u_proj_(o_.values, o_.channels, false) {
    this->add_child("ema", ema_);
    this->add_child("z_proj", z_proj_);
    this->add_child("v_proj", v_proj_);
    this->add_child("gate_proj1", gate_proj1_);
    this->add_child("gate_proj2", gate_proj2_);
    this->add_child("h_proj", h_proj_);
    this->add_child("u_proj", u_proj_);
    kappa = this->add_parameter("kappa", {2, o_.shared}, nn::Role::other);
    mu = this->add_parameter("mu", {2, o_.shared}, nn::Role::other);
    nn::normal(kappa, 0.02);
    if (o_.max_length == 0) return;
    bias = this->add_parameter("relative_bias", {2 * o_.max_length - 1}, nn::Role::other);
    nn::normal(bias, 0.02);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding. Attention is computed in float for
  /// activations in bf16.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x_in, const Tensor<std::uint8_t>& keep = {}) const {
    using C = compute_t<A>;
    const Tensor<A> x = nn::hide_padding_tokens("mega", x_in, keep);
    const Tensor<A> e = ema_(x);
    const Tensor<C> z = unsqueeze(silu(z_proj_(e)).template to<C>(), 1);  // one head
    const auto scaled = [&](index_t i) {
      return map(_1 * _2 + _3, z, slice(kappa, 0, i, i + 1), slice(mu, 0, i, i + 1));
    };
    const Tensor<C> v = unsqueeze(silu(v_proj_(x)).template to<C>(), 1);
    const Tensor<C> table = bias.defined() ? relative_bias(bias, x.size(1)) : bias;
    const Tensor<A> o =
        squeeze(laplace_attention(scaled(0), scaled(1), v, table, keep, o_.block), 1)
            .template to<A>();
    const Tensor<A> inner = u_proj_(map(silu(_1) * _2, gate_proj1_(e), o));
    return map(sigmoid(_1) * silu(_2 + _3) + (1.0 - sigmoid(_1)) * _4, gate_proj2_(e), h_proj_(e),
               inner, x);
  }

 private:
  static MegaOptions filled(MegaOptions o) {
    check(o.channels > 0 && o.shared >= 0 && o.values >= 0 && o.max_length >= 0,
          "[mega] expected positive widths, got channels {}, shared {}, values {}, max_length {}",
          o.channels, o.shared, o.values, o.max_length);
    if (o.shared == 0) o.shared = o.channels;
    if (o.values == 0) o.values = 2 * o.channels;
    return o;
  }

  MegaOptions o_;
  EmaLayer<T> ema_;
  nn::Linear<T> z_proj_, v_proj_, gate_proj1_, gate_proj2_, h_proj_, u_proj_;

 public:
  Tensor<T> kappa, mu;  ///< [2, shared], for q and for k
  Tensor<T> bias;       ///< [2 · max_length − 1]
};

}  // namespace flr::mixers
