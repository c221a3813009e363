// The tiny recursive model (Jolicoeur-Martineau 2025, arXiv 2510.04871) around a stack of blocks of any
// mixer, as in the reference's TRMWrapper.
//
//   f = norm ∘ blocks;   recursion: n times z ← f(x + y + z), then y ← f(y + z)
// A supervision step makes T recursions, the last of which is differentiated. Between steps y and z are
// carried without their graph; x is the embedded question, y the answer, z what the model thinks.
#pragma once

#include "flr/models/sequence_head.hpp"
#include "flr/models/sequence_model.hpp"

namespace flr::models {

struct TrmOptions {
  int steps = 16;       ///< supervision steps on one batch; also those of inference
  int inner = 6;        ///< n
  int recursions = 3;   ///< T
};

/// y and z [B,N,C] between two supervision steps.
template <Floating T>
struct TrmState {
  Tensor<T> y, z;
};

template <Floating T>
class Trm : public SequenceModel<T> {
 public:
  Trm(const SequenceOptions& o, const TrmOptions& trm);

  const char* name() const override { return "trm"; }
  const TrmOptions& trm_options() const { return trm_; }

  /// The state in front of a batch's first step: y_init and z_init for each token. They are trained
  /// by steps that start from them where there is one recursion (T = 1): more run without gradient
  /// and leave nothing of them, as published.
  TrmState<T> start(const Tensor<index_t>& tokens) const {
    const Shape shape{tokens.size(0), tokens.size(1), this->options().channels};
    return {broadcast_to(reshape(y_init_, {1, 1, shape[2]}), shape),
            broadcast_to(reshape(z_init_, {1, 1, shape[2]}), shape)};
  }

  /// One supervision step from `state`, which becomes that behind it, without its graph. Returns the
  /// logits; the gradient is that of the last recursion.
  Tensor<T> supervise(const Tensor<index_t>& tokens, const Tensor<std::uint8_t>& keep,
                      TrmState<T>& state) const {
    this->check_input(tokens, keep);
    if constexpr (std::same_as<T, float>)
      if (this->activates_in_bf16()) return step<bf16>(tokens, keep, state);
    return step<T>(tokens, keep, state);
  }

  /// Inference: all supervision steps from the start.
  Tensor<T> operator()(const Tensor<index_t>& tokens,
                       const Tensor<std::uint8_t>& keep = {}) const override {
    TrmState<T> state = start(tokens);
    Tensor<T> logits;
    for (int i = 0; i < trm_.steps; ++i) logits = supervise(tokens, keep, state);
    return logits;
  }

  /// The logit that says whether y [B,N,C] is thought to be right, [B,1]. The reference computes it
  /// and trains without it; so does this.
  Tensor<T> halting(const TrmState<T>& state, const Tensor<std::uint8_t>& keep = {}) const {
    return halt_(pool_tokens<T>(state.y, Pooling::max, keep));
  }

 private:
  static const SequenceOptions& checked(const SequenceOptions& o, const TrmOptions& trm) {
    check(trm.steps >= 1 && trm.inner >= 1 && trm.recursions >= 1,
          "[trm] expected at least one step, inner step and recursion; got {}, {} and {}", trm.steps,
          trm.inner, trm.recursions);
    check(o.answer != Answer::pair && o.pool != Pooling::cls,
          "[trm] the recursive model takes neither pairs of documents nor a class token");
    return o;
  }
  static typename SequenceHead<T>::Options head_options(const SequenceOptions& o, index_t labels) {
    return {.width = o.channels, .labels = labels, .norm = true, .mlp = false, .kind = o.norm(),
            .drop = o.cls_drop};
  }

  template <Floating A>
  Tensor<T> step(const Tensor<index_t>& tokens, const Tensor<std::uint8_t>& keep,
                 TrmState<T>& state) const {
    const Tensor<A> x = this->template embed<A>(tokens);
    Tensor<A> y = state.y.template to<A>(), z = state.z.template to<A>();
    const auto f = [&](const Tensor<A>& in) {
      const nn::ResidualStream<A> stream = this->run_blocks(in, keep);
      return final_norm_.of_sum(stream.x, stream.pending).norm;
    };
    const auto recursion = [&] {
      for (int i = 0; i < trm_.inner; ++i) z = f(map(_1 + _2 + _3, x, y, z));
      y = f(y + z);
    };
    {
      NoGrad scope;
      for (int t = 1; t < trm_.recursions; ++t) recursion();
    }
    recursion();
    const Tensor<T> answer = y.template to<T>();
    state = {answer.detach(), z.detach().template to<T>()};
    if (this->options().answer == Answer::token) return head_(answer);
    return head_(pool_tokens<T>(y, this->options().pool, keep));
  }

  TrmOptions trm_;
  nn::Norm<T> final_norm_;
  SequenceHead<T> head_, halt_;
  Tensor<T> y_init_, z_init_;
};

template <Floating T>
Trm<T>::Trm(const SequenceOptions& o, const TrmOptions& trm)
    : SequenceModel<T>(checked(o, trm)), trm_(trm), final_norm_(o.channels, o.norm()),
      head_(head_options(o, o.labels)), halt_(head_options(o, 1)) {
  this->add_child("final_norm", final_norm_);
  this->add_child("cls_proj", head_);
  this->add_child("halt_proj", halt_);
  y_init_ = this->add_parameter("y_init", {o.channels}, nn::Role::other);
  z_init_ = this->add_parameter("z_init", {o.channels}, nn::Role::other);
  nn::truncated_normal(y_init_, 0.02);
  nn::truncated_normal(z_init_, 0.02);
  this->initialize();
}

#ifdef FLR_COMPILED_MODELS
extern template class Trm<float>;
extern template class Trm<double>;
#endif

}  // namespace flr::models
