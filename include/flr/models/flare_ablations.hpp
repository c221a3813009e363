// FLARE's ablations: latents shared by all heads, or self-attention among the latents between the
// two hops. Scores are unscaled. The two options exclude each other.
#pragma once

#include "flr/models/transformer.hpp"

namespace flr::models {

struct FlareAblationsOptions {
  index_t c_in = 2, c_out = 1, channels = 64, heads = 8, latents = 64;
  int blocks = 8;
  std::optional<Activation> act;
  int kv_layers = 3, ffn_layers = 3, in_out_layers = 2;
  double kv_ratio = 1, ffn_ratio = 1, in_out_ratio = 1;
  bool out_norm = true;
  bool shared_latents = false;
  int latent_blocks = 0;
};

/// FLARE's mixer with `latent_blocks` transformer blocks on the latents [B,M,C].
template <Floating T>
class LatentBlocksMixer : public mixers::Flare<T> {
 public:
  explicit LatentBlocksMixer(const FlareAblationsOptions& o)
      : mixers::Flare<T>({.channels = o.channels, .heads = o.heads, .latents = o.latents, .scale = 1,
                          .k_layers = o.kv_layers, .v_layers = o.kv_layers, .k_ratio = o.kv_ratio,
                          .v_ratio = o.kv_ratio,
                          .act = o.act.value_or(Activation::gelu_tanh),
                          .shared_latents = o.shared_latents}) {
    check(!o.shared_latents || o.latent_blocks == 0,
          "[flare_ablations] shared latents exclude latent blocks; got {} blocks", o.latent_blocks);
    for (int i = 0; i < o.latent_blocks; ++i) {
      blocks_.push_back(make_transformer_block<T>(o.channels, o.heads, 4, Activation::gelu,
                                                  nn::NormKind::layer));
      this->add_child("latent_blocks." + std::to_string(i), *blocks_.back());
    }
  }

  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x) const {
    return this->mix(x, [&](Tensor<A> z) {
      if (blocks_.empty()) return z;
      const index_t heads = z.size(1);
      z = nn::merge_heads(z);
      for (const auto& block : blocks_) z = (*block)(z);
      return nn::split_heads(z, heads);
    });
  }

 private:
  std::vector<std::unique_ptr<TransformerBlock<T>>> blocks_;
};

template <Floating T>
using FlareAblationsBlock = Block<T, LatentBlocksMixer<T>, nn::ResidualMLP<T>>;

template <Floating T>
class FlareAblations : public BlockModel<T, FlareAblationsBlock<T>> {
 public:
  explicit FlareAblations(const FlareAblationsOptions& o);

  const char* name() const override { return "flare_ablations"; }
  std::vector<const mixers::Flare<T>*> flare_layers() const override {
    std::vector<const mixers::Flare<T>*> list;
    for (const auto& block : this->blocks_) list.push_back(block->att.get());
    return list;
  }

 private:
  static std::unique_ptr<FlareAblationsBlock<T>> make_block(const FlareAblationsOptions& o) {
    const auto hidden = static_cast<index_t>(o.ffn_ratio * static_cast<double>(o.channels));
    const Activation act = o.act.value_or(Activation::gelu_tanh);
    return std::make_unique<FlareAblationsBlock<T>>(
        o.channels, nn::NormKind::layer, "ln",
        [&] { return std::make_unique<LatentBlocksMixer<T>>(o); },
        [&] {
          return std::make_unique<nn::ResidualMLP<T>>(o.channels, hidden, o.channels, o.ffn_layers,
                                                      ResidualMlpOptions{true, true, act});
        });
  }
};

template <Floating T>
FlareAblations<T>::FlareAblations(const FlareAblationsOptions& o)
    : BlockModel<T, FlareAblationsBlock<T>>(
          {o.c_in, o.c_out, o.channels, o.in_out_layers, o.in_out_ratio, o.out_norm,
           nn::NormKind::layer, o.act.value_or(Activation::gelu_tanh), "out_proj.ln", "out_proj.mlp"},
          o.blocks, [&] { return make_block(o); }) {}

#ifdef FLR_COMPILED_MODELS
extern template class BlockModel<float, FlareAblationsBlock<float>>;
extern template class FlareAblations<float>;
extern template class BlockModel<double, FlareAblationsBlock<double>>;
extern template class FlareAblations<double>;
#endif

}  // namespace flr::models
