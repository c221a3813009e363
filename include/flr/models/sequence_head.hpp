// From encoded tokens to logits.
#pragma once

#include "flr/models/sequence_options.hpp"

namespace flr::models {

/// x [B,N,C] → [B,C]: the mean or the largest value of each channel over the tokens that `keep` [B,N]
/// leaves (all without one), or the first token, which is the class token. Tokens are pooled in their
/// own type A: sums are formed in a wider one anyway, and what is converted to T is then small, as is
/// its gradient.
template <Floating T, Floating A>
Tensor<T> pool_tokens(const Tensor<A>& x, Pooling pool, const Tensor<std::uint8_t>& keep = {}) {
  check(x.rank() == 3, "[pool] expected tokens [B,N,C], got {}", x.shape());
  if (pool == Pooling::cls) return squeeze(slice(x, 1, 0, 1), 1).template to<T>();
  if (!keep.defined()) return (pool == Pooling::mean ? mean(x, {1}) : max(x, {1})).template to<T>();
  check(keep.shape() == Shape({x.size(0), x.size(1)}), "[pool] expected a keep-mask [{},{}], got {}",
        x.size(0), x.size(1), keep.shape());
  const Tensor<T> counted = unsqueeze(keep.template to<T>(), -1);
  const Tensor<A> kept = counted.template to<A>();
  if (pool == Pooling::max)
    return max(map(formula::where(_1, _2, -1e30), kept, x), {1}).template to<T>();
  // Tokens are counted in T: bf16 has no 257.
  return sum(x * kept, {1}).template to<T>() / sum(counted, {1});
}

/// cls_proj: dropout, a norm (1), and a dense layer (2), or two with exact GELU between (2.0, 2.2).
template <Floating T>
class SequenceHead : public nn::Module<T> {
 public:
  struct Options {
    index_t width = 0, labels = 0;
    bool norm = true, mlp = false;
    nn::NormKind kind = nn::NormKind::layer;
    double drop = 0;
  };

  explicit SequenceHead(const Options& o) : drop_(o.drop) {
    if (o.norm) {
      norm_ = std::make_unique<nn::Norm<T>>(o.width, o.kind);
      this->add_child("1", *norm_);
    }
    if (o.mlp) {
      hidden_ = std::make_unique<nn::Linear<T>>(o.width, o.width);
      this->add_child("2.0", *hidden_);
    }
    out_ = std::make_unique<nn::Linear<T>>(o.width, o.labels);
    this->add_child(o.mlp ? "2.2" : "2", *out_);
  }

  /// x [.., C] → [.., labels].
  Tensor<T> operator()(const Tensor<T>& x_in) const {
    Tensor<T> x = dropout(x_in, drop_, this->training());
    if (norm_) x = (*norm_)(x);
    if (hidden_) x = (*hidden_)(x, Activation::gelu);
    return (*out_)(x);
  }

 private:
  double drop_;
  std::unique_ptr<nn::Norm<T>> norm_;
  std::unique_ptr<nn::Linear<T>> hidden_, out_;
};

}  // namespace flr::models
