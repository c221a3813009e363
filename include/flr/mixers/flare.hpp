// FLARE as a module: tokens → keys and values → latents → tokens (arXiv 2508.12594).
#pragma once

#include "flr/mixers/dropped_attention.hpp"

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
  double drop = 0;                          ///< behind out_proj
  double attn_drop = 0;                     ///< of the weights, in both hops
  /// The reference's mask: padded tokens read zeros from the latents. (Without it they read what
  /// other tokens would; nobody looks at it.)
  bool legacy = false;
};

/// The weights of one layer: how latents gather, [B,H,M,N], and how tokens read them, [B,H,N,M].
template <Floating T>
struct FlareWeights {
  Tensor<T> encode, decode;
};

template <Floating T>
class Flare : public nn::Module<T> {
 public:
  /// `rotary`, where given, turns the keys by their positions (the latents have none); it must
  /// outlive this module.
  explicit Flare(const FlareOptions& o, const nn::Rotary<T>* rotary = nullptr)
      : o_(checked(o)),
        rotary_(rotary),
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
  /// x [B,N,C], whose tokens stand at `first` and behind it → keys [B,H,N,D].
  template <Floating A>
  Tensor<A> keys(const Tensor<A>& x, index_t first = 0) const {
    const Tensor<A> k = k_proj_(x);
    if (!k_norm_) return turned(nn::split_heads(k, o_.heads), first);
    const Tensor<A> heads = reshape(k, {k.size(0), k.size(1), o_.heads, head_dim()});
    return turned(permute((*k_norm_)(heads), {0, 2, 1, 3}), first);
  }
  template <Floating A>
  Tensor<A> values(const Tensor<A>& x) const {
    return nn::split_heads(v_proj_(x), o_.heads);
  }

  /// What tokens read from the latents, [B,H,N,D] → [B,N,C].
  template <Floating A>
  Tensor<A> output(const Tensor<A>& y) const {
    return dropout(out_proj_(nn::merge_heads(y)), o_.drop, this->training());
  }

  /// x [B,N,C] → [B,N,C]; latents do not see the tokens that `keep` [B or 1,N] hides.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    const bool drops = o_.attn_drop > 0 && this->training();
    if (!keep.defined() && !drops)  // one node where the backend has it
      return output(flare_mixer(queries<A>(), keys(x), values(x), o_.scale));
    return mix(x, [](const Tensor<A>& z) { return z; }, keep);
  }

  /// The same with a function on the latents [B,H,M,D] between the two hops.
  template <Floating A, class F>
  Tensor<A> mix(const Tensor<A>& x, F&& on_latents, const Tensor<std::uint8_t>& keep = {}) const {
    const Tensor<A> q = unsqueeze(queries<A>(), 0), k = keys(x);
    const auto attend = [this](const Tensor<A>& from, const Tensor<A>& to, const Tensor<A>& v,
                               const Tensor<std::uint8_t>& visible) {
      return dropped_attention(from, to, v, {.scale = o_.scale, .keep = visible}, o_.attn_drop,
                               this->training());
    };
    const Tensor<A> z = on_latents(attend(q, k, values(x), keep));
    const Tensor<A> y = attend(k, q, z, {});
    return output(o_.legacy ? nn::hide_padding("flare", y, keep) : y);
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
  template <Floating A>
  Tensor<A> turned(const Tensor<A>& heads, index_t first) const {
    return rotary_ ? (*rotary_)(heads, first) : heads;
  }
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
  const nn::Rotary<T>* rotary_;

 public:
  Tensor<T> latent_q;

 private:
  nn::ResidualMLP<T> k_proj_, v_proj_;
  nn::Linear<T> out_proj_;
  std::unique_ptr<nn::Norm<T>> q_norm_, k_norm_;
};

}  // namespace flr::mixers
