// FLARE (arXiv 2508.12594): the reference's `flare` and `flare_experimental`, which are one model.
#pragma once

#include "flr/models/model.hpp"

namespace flr::models {

struct FlareOptions {
  index_t c_in = 2, c_out = 1, channels = 64, heads = 8, latents = 64;
  int blocks = 8;
  double attn_scale = 1;
  std::optional<Activation> act;  ///< tanh-GELU if not given
  bool rmsnorm = false, qk_norm = false;
  int in_out_layers = 2;
  double in_out_ratio = 1;
  bool out_norm = true;
  int k_layers = 3, v_layers = 3, ffn_layers = 3;
  double k_ratio = 1, v_ratio = 1, ffn_ratio = 1;

  nn::NormKind norm() const { return rmsnorm ? nn::NormKind::rms : nn::NormKind::layer; }
  Activation activation() const { return act.value_or(Activation::gelu_tanh); }
  ProjectionOptions projections() const {
    return {c_in, c_out, channels, in_out_layers, in_out_ratio, out_norm, norm(), activation()};
  }
};

template <Floating T>
using FlareBlock = Block<T, mixers::Flare<T>, nn::ResidualMLP<T>>;

template <Floating T>
class Flare : public BlockModel<T, FlareBlock<T>> {
 public:
  explicit Flare(const FlareOptions& o);

  const char* name() const override { return "flare"; }
  std::vector<const mixers::Flare<T>*> flare_layers() const override {
    std::vector<const mixers::Flare<T>*> list;
    for (const auto& block : this->blocks_) list.push_back(block->att.get());
    return list;
  }

 private:
  static std::unique_ptr<FlareBlock<T>> make_block(const FlareOptions& o) {
    const auto hidden = static_cast<index_t>(o.ffn_ratio * static_cast<double>(o.channels));
    return std::make_unique<FlareBlock<T>>(
        o.channels, o.norm(), "norm",
        [&] {
          return std::make_unique<mixers::Flare<T>>(mixers::FlareOptions{
              .channels = o.channels, .heads = o.heads, .latents = o.latents,
              .scale = o.attn_scale, .k_layers = o.k_layers, .v_layers = o.v_layers,
              .k_ratio = o.k_ratio, .v_ratio = o.v_ratio, .act = o.activation(),
              .qk_norm = o.qk_norm, .norm = o.norm()});
        },
        [&] {
          return std::make_unique<nn::ResidualMLP<T>>(
              o.channels, hidden, o.channels, o.ffn_layers,
              ResidualMlpOptions{true, true, o.activation()});
        });
  }
};

template <Floating T>
Flare<T>::Flare(const FlareOptions& o)
    : BlockModel<T, FlareBlock<T>>(o.projections(), o.blocks, [&] { return make_block(o); }) {}

#ifdef FLR_COMPILED_MODELS
extern template class BlockModel<float, FlareBlock<float>>;
extern template class Flare<float>;
extern template class BlockModel<double, FlareBlock<double>>;
extern template class Flare<double>;
#endif

}  // namespace flr::models
