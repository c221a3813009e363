// The classifier of the Long Range Arena experiments, with any mixer (facts of the reference:
// ModelWrapper).
#pragma once

#include "flr/models/sequence_head.hpp"
#include "flr/models/sequence_model.hpp"

namespace flr::models {

/// Embedding, blocks, norm and pooling, head. With a class token, or with an answer for each token,
/// there is no norm between blocks and head.
template <Floating T>
class Lra : public SequenceModel<T> {
 public:
  explicit Lra(const SequenceOptions& o);

  const char* name() const override { return "lra"; }

  Tensor<T> operator()(const Tensor<index_t>& tokens,
                       const Tensor<std::uint8_t>& keep = {}) const override {
    if constexpr (std::same_as<T, float>)
      if (this->activates_in_bf16()) return forward<bf16>(tokens, keep);
    return forward<T>(tokens, keep);
  }

 private:
  static bool has_norms(const SequenceOptions& o) {
    return o.answer != Answer::token && o.pool != Pooling::cls;
  }

  template <Floating A>
  Tensor<T> forward(const Tensor<index_t>& tokens_in, const Tensor<std::uint8_t>& keep_in) const {
    const SequenceOptions& o = this->options();
    const index_t n = this->check_input(tokens_in, keep_in), batch = tokens_in.size(0);
    // The documents of a pair are sequences of their own until they are pooled.
    const Tensor<index_t> tokens = reshape(tokens_in, {-1, n});
    Tensor<std::uint8_t> keep = keep_in.defined() ? reshape(keep_in, {-1, n}) : keep_in;
    Tensor<A> x = this->template embed<A>(tokens);
    if (cls_token_.defined()) {
      const Tensor<A> first = reshape(this->template parameter_as<A>(cls_token_), {1, 1, o.channels});
      x = concat<A>({broadcast_to(first, {x.size(0), 1, o.channels}), x}, 1);
      if (keep.defined()) keep = with_class_token(keep);
    }
    const nn::ResidualStream<A> stream = this->run_blocks(std::move(x), keep);
    x = final_norm_ ? final_norm_->of_sum(stream.x, stream.pending).norm : stream.sum();
    if (o.answer == Answer::token) return head_(x.template to<T>());
    const Tensor<T> pooled = pool_tokens<T>(x, o.pool, keep);
    return head_(o.answer == Answer::pair ? reshape(pooled, {batch, 2 * o.channels}) : pooled);
  }

  static Tensor<std::uint8_t> with_class_token(const Tensor<std::uint8_t>& keep) {
    const Tensor<T> one = ones<T>({keep.size(0), 1}, keep.device());
    return concat<T>({one, keep.template to<T>()}, 1).template to<std::uint8_t>();
  }

  SequenceHead<T> head_;
  std::unique_ptr<nn::Norm<T>> final_norm_;
  Tensor<T> cls_token_;
};

template <Floating T>
Lra<T>::Lra(const SequenceOptions& o)
    : SequenceModel<T>(o),
      head_({.width = o.channels * (o.answer == Answer::pair ? 2 : 1), .labels = o.labels,
             .norm = has_norms(o), .mlp = o.mlp_head, .kind = o.norm(), .drop = o.cls_drop}) {
  if (has_norms(o)) {
    final_norm_ = std::make_unique<nn::Norm<T>>(o.channels, o.norm());
    this->add_child("final_norm", *final_norm_);
  }
  this->add_child("cls_proj", head_);
  if (o.pool == Pooling::cls) {
    cls_token_ = this->add_parameter("cls_token", {o.channels}, nn::Role::other);
    nn::truncated_normal(cls_token_, 0.02);
  }
  this->initialize();
}

#ifdef FLR_COMPILED_MODELS
extern template class Lra<float>;
extern template class Lra<double>;
#endif

}  // namespace flr::models
