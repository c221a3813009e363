// One block of a model on token sequences, of any mixer.
#pragma once

#include "flr/models/lra_mixers.hpp"
#include "flr/nn/residual_stream.hpp"

namespace flr::models {

/// A pre-norm block: x ← x + mix(norm1 x), x ← x + mlp(norm2 x). A mixer that carries packed tokens
/// sees norm_p of them and adds to them too.
template <Floating T>
class SequenceBlock : public nn::Module<T> {
 public:
  SequenceBlock(const NamedMixer<T>& mixer, const MixerPlace<T>& at)
      : norm1_(at.options.channels, at.options.norm()),
        norm2_(at.options.channels, at.options.norm()) {
    this->add_child("norm1", norm1_);
    if (mixer.packed) {
      norm_p_ = std::make_unique<nn::Norm<T>>(at.options.channels, at.options.norm());
      luna_ = mixer.packed(at);
      this->add_child("norm_p", *norm_p_);
      this->add_child("att", *luna_);
    } else {
      att_ = mixer.mixer(at);
      this->add_child("att", att_->module());
    }
    mlp_ = mixer.ffn(at);
    this->add_child("norm2", norm2_);
    this->add_child("mlp", mlp_->module());
  }

  /// `rows`, the vectors of positions, are added in front of the block; they may be undefined.
  template <Floating A>
  nn::ResidualStream<A> operator()(nn::ResidualStream<A> in, const Tensor<A>& rows,
                                   const Tensor<std::uint8_t>& keep) const {
    SumAndNorm<A> s = norm1_.of_sum(in.x, in.pending, rows);
    in = {};  // each tensor goes as soon as the next ones are there
    in.pending = (*att_)(std::exchange(s.norm, {}), keep);
    in.x = std::move(s.sum);
    return feed_forward(std::move(in));
  }

  /// With packed tokens p [B or 1,M,C]: both, one block further.
  template <Floating A>
  mixers::LunaOutput<A> operator()(const Tensor<A>& x, const Tensor<A>& p,
                                   const Tensor<std::uint8_t>& keep) const {
    const mixers::LunaOutput<A> y = (*luna_)(norm1_(x), (*norm_p_)(p), keep);
    return {feed_forward(nn::ResidualStream<A>{x, y.x}).sum(), p + y.p};
  }

 private:
  template <Floating A>
  nn::ResidualStream<A> feed_forward(nn::ResidualStream<A> in) const {
    const SumAndNorm<A> s = norm2_.of_sum(in.x, in.pending);
    in = {};
    return {s.sum, (*mlp_)(s.norm)};
  }

  nn::Norm<T> norm1_, norm2_;
  std::unique_ptr<nn::Norm<T>> norm_p_;
  std::unique_ptr<mixers::Luna<T>> luna_;
  std::unique_ptr<TokenLayer<T>> att_, mlp_;
};

}  // namespace flr::models
