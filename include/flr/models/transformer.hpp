// The vanilla transformer on points: softmax attention between FLARE's projections.
#pragma once

#include "flr/models/model.hpp"

namespace flr::models {

struct TransformerOptions {
  index_t c_in = 2, c_out = 1, channels = 80, heads = 5;
  int blocks = 8;
  std::optional<Activation> act;  ///< exact GELU in the blocks, tanh-GELU in the projections if not given
  bool rmsnorm = false;
  int in_out_layers = 2;
  double in_out_ratio = 1;
  bool out_norm = true;
  double mlp_ratio = 4;

  nn::NormKind norm() const { return rmsnorm ? nn::NormKind::rms : nn::NormKind::layer; }
  ProjectionOptions projections() const {
    return {c_in, c_out, channels, in_out_layers, in_out_ratio, out_norm, norm(),
            act.value_or(Activation::gelu_tanh)};
  }
};

/// The MLP of a block, of width ratio·C.
template <Floating T>
std::unique_ptr<nn::MLP<T>> make_transformer_mlp(index_t channels, double ratio, Activation act) {
  const auto hidden = static_cast<index_t>(ratio * static_cast<double>(channels));
  return std::make_unique<nn::MLP<T>>(channels, hidden, channels, act);
}

template <Floating T>
using TransformerBlock = Block<T, mixers::SelfAttention<T>, nn::MLP<T>>;

/// A pre-norm block of self-attention and an MLP.
template <Floating T>
std::unique_ptr<TransformerBlock<T>> make_transformer_block(index_t channels, index_t heads,
                                                            double mlp_ratio, Activation act,
                                                            nn::NormKind norm) {
  return std::make_unique<TransformerBlock<T>>(
      channels, norm, "norm",
      [&] { return std::make_unique<mixers::SelfAttention<T>>(channels, heads); },
      [&] { return make_transformer_mlp<T>(channels, mlp_ratio, act); });
}

template <Floating T>
class Transformer : public BlockModel<T, TransformerBlock<T>> {
 public:
  explicit Transformer(const TransformerOptions& o);

  const char* name() const override { return "transformer"; }
};

template <Floating T>
Transformer<T>::Transformer(const TransformerOptions& o)
    : BlockModel<T, TransformerBlock<T>>(o.projections(), o.blocks, [&] {
        return make_transformer_block<T>(o.channels, o.heads, o.mlp_ratio,
                                         o.act.value_or(Activation::gelu), o.norm());
      }) {}

#ifdef FLR_COMPILED_MODELS
extern template class BlockModel<float, TransformerBlock<float>>;
extern template class Transformer<float>;
extern template class BlockModel<double, TransformerBlock<double>>;
extern template class Transformer<double>;
#endif

}  // namespace flr::models
