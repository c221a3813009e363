// Luna: attention packed into M tokens that are carried from layer to layer, and unpacked again (Ma
// et al. 2021, arXiv 2106.01540, eq. 5–7; encoder only, with keys and values of their own).
//
//   pack:    Y_P = sdpa(P W_pq, X W_pk, X W_pv)            [B,M,C], added to P
//   unpack:  Y_X = sdpa(X W_q, Y_P W_k, Y_P W_v) W_o       [B,N,C], added to X
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// What a layer of Luna gives tokens and packed tokens.
template <Floating T>
struct LunaOutput {
  Tensor<T> x, p;
};

/// Heads pq [B or 1,H,M,D], pk, pv, q [B,H,N,D]; `project` makes keys and values [B,H,M,D] (a pair)
/// of the packed [B,H,M,D]. Scores are scaled by D^−½; `keep` [B or 1,N] hides padding. → heads of
/// Y_X in front of W_o, and of Y_P.
template <Floating T, class Project>
LunaOutput<T> luna(const Tensor<T>& pq, const Tensor<T>& pk, const Tensor<T>& pv, const Tensor<T>& q,
                   Project&& project, const Tensor<std::uint8_t>& keep = {}) {
  SdpaOptions<T> options;
  options.keep = keep;
  const Tensor<T> packed = sdpa(pq, pk, pv, options);
  const auto [k, v] = project(packed);
  return {sdpa(q, k, v), packed};
}

struct LunaOptions {
  index_t channels = 128, heads = 8, latents = 64;
  bool qk_norm = false;  ///< of queries and keys over D, one pair of norms for both hops
  nn::NormKind norm = nn::NormKind::layer;
  bool own_packed = false;  ///< the layer has packed tokens of its own, to stand alone
};

template <Floating T>
class Luna : public nn::Module<T> {
 public:
  explicit Luna(const LunaOptions& o)
      : o_(o),
        pq_proj_(o.channels, o.channels),
        pk_proj_(o.channels, o.channels),
        pv_proj_(o.channels, o.channels),
        q_proj_(o.channels, o.channels),
        k_proj_(o.channels, o.channels),
        v_proj_(o.channels, o.channels),
        out_proj_(o.channels, o.channels) {
    const index_t d = nn::head_dim("luna", o.channels, o.heads);
    if (o.own_packed) {
      check(o.latents > 0, "[luna] expected at least one packed token, got {}", o.latents);
      packed_embed = this->add_parameter("packed_embed", {o.latents, o.channels}, nn::Role::latent);
      nn::normal(packed_embed, 1 / std::sqrt(static_cast<double>(o.channels)));
    }
    if (o.qk_norm) {
      q_norm_ = std::make_unique<nn::Norm<T>>(d, o.norm, epsilon(o.norm));
      k_norm_ = std::make_unique<nn::Norm<T>>(d, o.norm, epsilon(o.norm));
      this->add_child("q_norm", *q_norm_);
      this->add_child("k_norm", *k_norm_);
    }
    this->add_child("pq_proj", pq_proj_);
    this->add_child("pk_proj", pk_proj_);
    this->add_child("pv_proj", pv_proj_);
    this->add_child("q_proj", q_proj_);
    this->add_child("k_proj", k_proj_);
    this->add_child("v_proj", v_proj_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] and packed tokens p [B or 1,M,C] → what to add to each.
  template <Floating A>
  LunaOutput<A> operator()(const Tensor<A>& x, const Tensor<A>& p,
                           const Tensor<std::uint8_t>& keep = {}) const {
    const auto project = [this](const Tensor<A>& packed) {
      const Tensor<A> y = nn::merge_heads(packed);
      return std::pair{heads(k_proj_(y), k_norm_), heads(v_proj_(y), none_)};
    };
    const LunaOutput<A> y = luna(heads(pq_proj_(p), q_norm_), heads(pk_proj_(x), k_norm_),
                                 heads(pv_proj_(x), none_), heads(q_proj_(x), q_norm_), project, keep);
    return {out_proj_(nn::merge_heads(y.x)), nn::merge_heads(y.p)};
  }

  /// x [B,N,C] → [B,N,C] with the layer's own packed tokens.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    check(packed_embed.defined(),
          "[luna] this layer has no packed tokens of its own; pass them, or set own_packed");
    return (*this)(x, unsqueeze(this->template parameter_as<A>(packed_embed), 0), keep).x;
  }

 private:
  using NormPtr = std::unique_ptr<nn::Norm<T>>;

  static double epsilon(nn::NormKind kind) { return kind == nn::NormKind::rms ? 1e-6 : 1e-5; }

  template <Floating A>
  Tensor<A> heads(const Tensor<A>& x, const NormPtr& norm) const {
    if (!norm) return nn::split_heads(x, o_.heads);
    const Tensor<A> split = reshape(x, {x.size(0), x.size(1), o_.heads, x.size(2) / o_.heads});
    return permute((*norm)(split), {0, 2, 1, 3});
  }

  LunaOptions o_;
  nn::Linear<T> pq_proj_, pk_proj_, pv_proj_, q_proj_, k_proj_, v_proj_, out_proj_;
  NormPtr q_norm_, k_norm_, none_;

 public:
  Tensor<T> packed_embed;  ///< [M,C] ~ N(0, 1/C), with own_packed
};

}  // namespace flr::mixers
