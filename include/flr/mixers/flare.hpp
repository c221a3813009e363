// FLARE as a module: tokens → keys and values → latents → tokens (arXiv 2508.12594).
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

struct FlareOptions {
  index_t channels = 64, heads = 8, latents = 64;
  double scale = 1;  ///< of the scores, in both hops
  int k_layers = 3, v_layers = 3;
  double k_ratio = 1, v_ratio = 1;  ///< hidden width of the projections over channels
  Activation act = Activation::gelu_tanh;
  bool qk_norm = false;
  nn::NormKind norm = nn::NormKind::layer;  ///< of qk_norm
  bool shared_latents = false;              ///< one set of latents for all heads
};

/// The weights of one layer: how latents gather, [B,H,M,N], and how tokens read them, [B,H,N,M].
template <Floating T>
struct FlareWeights {
  Tensor<T> encode, decode;
};

template <Floating T>
class Flare : public nn::Module<T> {
 public:
  explicit Flare(const FlareOptions& o)
      : o_(checked(o)),
        latent_q(this->add_parameter(
            "latent_q", {o.shared_latents ? o.channels / o.heads : o.channels, o.latents},
            nn::Role::latent)),
        k_proj_(o.channels, width(o.k_ratio), o.channels, o.k_layers, {true, true, o.act}),
        v_proj_(o.channels, width(o.v_ratio), o.channels, o.v_layers, {true, true, o.act}),
        out_proj_(o.channels, o.channels) {
    nn::normal(latent_q, 0.1);
    this->add_child("k_proj", k_proj_);
    this->add_child("v_proj", v_proj_);
    this->add_child("out_proj", out_proj_);
    if (!o.qk_norm) return;
    q_norm_ = std::make_unique<nn::Norm<T>>(head_dim(), o.norm);
    k_norm_ = std::make_unique<nn::Norm<T>>(head_dim(), o.norm);
    this->add_child("q_norm", *q_norm_);
    this->add_child("k_norm", *k_norm_);
  }

  index_t head_dim() const { return o_.channels / o_.heads; }
  const FlareOptions& options() const { return o_; }

  /// The latents as queries, [H or 1, M, D]. The parameter is stored [C, M] and reinterpreted, not
  /// transposed.
  template <Floating A = T>
  Tensor<A> queries() const {
    const Tensor<A> q = reshape(
        this->template parameter_as<A>(latent_q),
        {o_.shared_latents ? 1 : o_.heads, o_.latents, head_dim()});
    return q_norm_ ? (*q_norm_)(q) : q;
  }
  /// x [B,N,C] → keys [B,H,N,D].
  template <Floating A>
  Tensor<A> keys(const Tensor<A>& x) const {
    const Tensor<A> k = k_proj_(x);
    if (!k_norm_) return nn::split_heads(k, o_.heads);
    const Tensor<A> heads = reshape(k, {k.size(0), k.size(1), o_.heads, head_dim()});
    return permute((*k_norm_)(heads), {0, 2, 1, 3});
  }
  template <Floating A>
  Tensor<A> values(const Tensor<A>& x) const {
    return nn::split_heads(v_proj_(x), o_.heads);
  }

  /// x [B,N,C] → [B,N,C].
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x) const {
    return out_proj_(
        nn::merge_heads(flare_mixer(queries<A>(), keys(x), values(x), o_.scale)));
  }

  /// The same with a function on the latents [B,H,M,D] between the two hops.
  template <Floating A, class F>
  Tensor<A> mix(const Tensor<A>& x, F&& on_latents) const {
    const Tensor<A> q = queries<A>(), k = keys(x);
    const Tensor<A> z = on_latents(flare_encode(q, k, values(x), o_.scale));
    return out_proj_(nn::merge_heads(flare_decode(q, k, z, o_.scale)));
  }

  /// Encode and decode weights for x [B,N,C]. `legacy` leaves out the model's scale, as the
  /// reference's analysis does. Not recorded.
  FlareWeights<T> weights(const Tensor<T>& x, bool legacy = false) const {
    NoGrad scope;
    const Tensor<T> q = queries(), k = keys(x);
    const auto scale = static_cast<compute_t<T>>(legacy ? 1 : o_.scale);
    const Tensor<T> s = matmul(unsqueeze(q, 0), transpose(k, -1, -2)) * scale;
    return {softmax(s, -1), contiguous(transpose(softmax(s, -2), -1, -2))};
  }

 private:
  static const FlareOptions& checked(const FlareOptions& o) {
    check(o.heads > 0 && o.channels > 0 && o.channels % o.heads == 0,
          "[flare] {} channels do not divide into {} heads", o.channels, o.heads);
    check(o.latents > 0, "[flare] expected at least one latent, got {}", o.latents);
    return o;
  }
  index_t width(double ratio) const {
    return static_cast<index_t>(ratio * static_cast<double>(o_.channels));
  }

  FlareOptions o_;

 public:
  Tensor<T> latent_q;

 private:
  nn::ResidualMLP<T> k_proj_, v_proj_;
  nn::Linear<T> out_proj_;
  std::unique_ptr<nn::Norm<T>> q_norm_, k_norm_;
};

}  // namespace flr::mixers
