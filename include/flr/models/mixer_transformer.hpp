// The transformer on points with another token mixer in place of self-attention.
#pragma once

#include "flr/models/transformer.hpp"

namespace flr::models {

/// Mixer: a module made from its options and called on x [B,N,C] (mixers/). `o.heads` is not read:
/// the mixer's own options say how many it has.
template <Floating T, class Mixer>
class MixerTransformer : public BlockModel<T, Block<T, Mixer, nn::MLP<T>>> {
 public:
  template <class MixerOptions>
  MixerTransformer(const char* name, const TransformerOptions& o, const MixerOptions& mixer)
      : BlockModel<T, Block<T, Mixer, nn::MLP<T>>>(o.projections(), o.blocks,
                                                   [&] { return make_block(o, mixer); }),
        name_(name) {}

  const char* name() const override { return name_; }

 private:
  template <class MixerOptions>
  static std::unique_ptr<Block<T, Mixer, nn::MLP<T>>> make_block(const TransformerOptions& o,
                                                                 const MixerOptions& mixer) {
    return std::make_unique<Block<T, Mixer, nn::MLP<T>>>(
        o.channels, o.norm(), "norm", [&] { return std::make_unique<Mixer>(mixer); },
        [&] { return make_transformer_mlp<T>(o.channels, o.mlp_ratio, o.act.value_or(Activation::gelu)); });
  }

  const char* name_;
};

}  // namespace flr::models
