// FLARE++: FLARE whose latents look at the tokens first (arXiv 2608.11519; names and starting values
// as in the authors' code).
//
//   Q_d = sdpa(norm(Q₀), K₀, V₀),   K₀ = V₀ = norm(heads(x W₀))
//   Q   = norm(Q_fix) + σ(γ_h) Q_d
//   Z   = sdpa(Q, K, V),   Y = sdpa(K, Q, Z),   K = norm(heads(x W_k)),  V = heads(x W_v)
// All scores are scaled by D^−½. Version 1 of the paper has a V₀ of its own and no gate.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// Latents q0 and fixed [H,M,D], tokens k0, v0, k, v [B,H,N,D], gate [H] in front of its sigmoid
/// (undefined: the weight of Q_d is 1) → [B,H,N,D]. `keep` [B or 1,N] hides padding.
template <Floating T>
Tensor<T> flare_plus_plus(const Tensor<T>& q0, const Tensor<T>& k0, const Tensor<T>& v0,
                          const Tensor<T>& fixed, const Tensor<compute_t<T>>& gate,
                          const Tensor<T>& k, const Tensor<T>& v,
                          const Tensor<std::uint8_t>& keep = {}) {
  using C = compute_t<T>;
  check(q0.rank() == 3 && fixed.shape() == q0.shape(),
        "[flare_plus_plus] expected two sets of latents [H,M,D], got {} and {}", q0.shape(),
        fixed.shape());
  SdpaOptions<T> options;
  options.keep = keep;
  const Tensor<C> dynamic = sdpa(unsqueeze(q0, 0), k0, v0, options).template to<C>();
  const Tensor<C> f = unsqueeze(fixed, 0).template to<C>();
  const Tensor<C> mixed =
      gate.defined()
          ? map(_1 + sigmoid(_2) * _3, f, reshape(gate, {1, gate.size(0), 1, 1}), dynamic)
          : f + dynamic;
  const Tensor<T> q = mixed.template to<T>();
  return sdpa(k, q, sdpa(q, k, v, options));
}

struct FlarePlusPlusOptions {
  index_t channels = 128, heads = 8, latents = 64;
  nn::NormKind norm = nn::NormKind::layer;
  bool k_norm = true, fixed_norm = true;
  bool first_version = false;  ///< of the paper: V₀ apart from K₀, no gate
};

template <Floating T>
class FlarePlusPlus : public nn::Module<T> {
 public:
  explicit FlarePlusPlus(const FlarePlusPlusOptions& o)
      : o_(o),
        q0_norm_(head_dim(o), o.norm, epsilon()),
        k_norm_(head_dim(o), o.norm, epsilon()),
        k0_proj_(o.channels, o.channels, true, nn::Role::other),
        v0_proj_(o.channels, o.channels, true, nn::Role::other),
        k_proj_(o.channels, o.channels, true, nn::Role::other),
        v_proj_(o.channels, o.channels, true, nn::Role::other),
        out_proj_(o.channels, o.channels) {
    check(o.latents > 0, "[flare_plus_plus] expected at least one latent, got {}", o.latents);
    const Shape latents{o.heads, o.latents, head_dim(o)};
    latent_q0 = this->add_parameter("latent_q0", latents, nn::Role::latent);
    latent_q_fixed = this->add_parameter("latent_q_fixed", latents, nn::Role::latent);
    nn::normal(latent_q0, 0.02);
    nn::normal(latent_q_fixed, 0.02);
    if (!o.first_version) {
      gate_logit = this->add_parameter("gate_logit", {o.heads}, nn::Role::other);
      nn::fill(gate_logit, 0.25);
    }
    this->add_child("q0_norm", q0_norm_);
    if (o.k_norm) this->add_child("k_norm", k_norm_);
    add_projection("k0_proj", k0_proj_);
    if (o.first_version) add_projection("v0_proj", v0_proj_);
    add_projection("k_proj", k_proj_);
    add_projection("v_proj", v_proj_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    const Tensor<A> q0 = q0_norm_(this->template parameter_as<A>(latent_q0));
    Tensor<A> fixed = this->template parameter_as<A>(latent_q_fixed);
    if (o_.fixed_norm) fixed = plain_norm(fixed);
    const Tensor<A> k0 = to_heads(plain_norm(in_heads(k0_proj_(x))));
    const Tensor<A> v0 = o_.first_version ? to_heads(plain_norm(in_heads(v0_proj_(x)))) : k0;
    const Tensor<A> k = in_heads(k_proj_(x));
    const Tensor<A> y =
        flare_plus_plus(q0, k0, v0, fixed, gate_logit, to_heads(o_.k_norm ? k_norm_(k) : k),
                        to_heads(in_heads(v_proj_(x))), keep);
    return out_proj_(nn::merge_heads(y));
  }

 private:
  static index_t head_dim(const FlarePlusPlusOptions& o) {
    return nn::head_dim("flare_plus_plus", o.channels, o.heads);
  }
  double epsilon() const { return o_.norm == nn::NormKind::rms ? 1e-6 : 1e-5; }

  /// The identity and a little noise: W = 1 + N(0, 0.02²), b = 0.
  void add_projection(const char* name, nn::Linear<T>& layer) {
    this->add_child(name, layer);
    const Tensor<T> noise = zeros<T>(layer.weight.shape());
    nn::truncated_normal(noise, 0.02);
    nn::identity(layer.weight);
    NoGrad scope;
    layer.weight.copy_(layer.weight + noise);
    nn::fill(layer.bias, 0);
  }
  /// [B,N,C] → [B,N,H,D], whose last axis norms take.
  template <Floating A>
  Tensor<A> in_heads(const Tensor<A>& x) const {
    return reshape(x, {x.size(0), x.size(1), o_.heads, head_dim(o_)});
  }
  template <Floating A>
  static Tensor<A> to_heads(const Tensor<A>& x) {
    return permute(x, {0, 2, 1, 3});
  }
  /// A norm without parameters.
  template <Floating A>
  Tensor<A> plain_norm(const Tensor<A>& x) const {
    return o_.norm == nn::NormKind::rms ? rms_norm(x, {}, epsilon()) : layer_norm(x, {}, {}, epsilon());
  }

  FlarePlusPlusOptions o_;
  nn::Norm<T> q0_norm_, k_norm_;
  nn::Linear<T> k0_proj_, v0_proj_, k_proj_, v_proj_, out_proj_;

 public:
  Tensor<T> latent_q0, latent_q_fixed, gate_logit;
};

}  // namespace flr::mixers
