// What models on token sequences share: embeddings, positions, and a stack of blocks of any mixer.
#pragma once

#include "flr/models/lra_mixers.hpp"
#include "flr/models/sequence_embedding.hpp"

namespace flr::models {

/// A pre-norm block: x ← x + mix(norm1 x), x ← x + mlp(norm2 x).
template <Floating T>
class SequenceBlock : public nn::Module<T> {
 public:
  SequenceBlock(const NamedMixer<T>& mixer, const MixerPlace<T>& at)
      : norm1_(at.options.channels, at.options.norm()),
        norm2_(at.options.channels, at.options.norm()),
        att_(mixer.mixer(at)),
        mlp_(mixer.ffn(at)) {
    this->add_child("norm1", norm1_);
    this->add_child("att", att_->module());
    this->add_child("norm2", norm2_);
    this->add_child("mlp", mlp_->module());
  }

  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x_in, const Tensor<std::uint8_t>& keep) const {
    const Tensor<A> x = x_in + (*att_)(norm1_(x_in), keep);
    return x + (*mlp_)(norm2_(x));
  }

 private:
  nn::Norm<T> norm1_, norm2_;
  std::unique_ptr<TokenLayer<T>> att_, mlp_;
};

template <Floating T>
class SequenceModel : public nn::Module<T> {
 public:
  /// tokens [B,N] (of pairs [B,2N]: one document, then the other) → logits [B,labels], or with an
  /// answer for each token [B,N,labels]. `keep` has the shape of the tokens, 1 for a token and 0 for
  /// padding behind it: padding then changes no logits but those at its own places. Every sequence
  /// must have a token.
  virtual Tensor<T> operator()(const Tensor<index_t>& tokens,
                               const Tensor<std::uint8_t>& keep = {}) const = 0;
  virtual const char* name() const = 0;
  const SequenceOptions& options() const { return o_; }

  /// Whether blocks compute in bf16. To be called after to().
  void activate_in_bf16(bool on) {
    in_bf16_ = on;
    if (on) this->keep_bf16();
  }
  bool activates_in_bf16() const { return in_bf16_; }
  /// Whether backward makes what blocks saved again, instead of keeping it. The bits stay the same.
  void recompute_blocks(bool on) { recompute_blocks_ = on; }

 protected:
  explicit SequenceModel(const SequenceOptions& o) : o_(checked(o)), tokens_(o), positions_(o) {
    this->add_child("token_emb", tokens_);
    this->add_child("pos_emb", positions_);
    const NamedMixer<T>& mixer = lra_mixer<T>(o.mixer);
    if (o.positions == Positions::rotary) {
      check(mixer.takes_rotary, "[lra] the mixer '{}' has no queries and keys to turn by rotary "
            "positions; take learned or sinusoid ones", mixer.name);
      rotary_ = std::make_unique<nn::Rotary<T>>(
          o.positions_needed(), nn::head_dim("lra", o.channels, o.heads),
          o.legacy ? nn::RotaryLayout::halves : nn::RotaryLayout::pairs);
      this->add_child("rope", *rotary_);
    }
    for (int i = 0; i < o.blocks; ++i) {
      blocks_.push_back(std::make_unique<SequenceBlock<T>>(
          mixer, MixerPlace<T>{o_, i, rotary_.get()}));
      this->add_child("blocks." + std::to_string(i), *blocks_.back());
    }
  }

  /// To be called by the constructor of a model when all its parameters are there.
  void initialize() {
    nn::init_flare(*this);
    if (!o_.legacy) tokens_.clear_padding();
  }

  /// Checks what a model is called with; returns the tokens of one document.
  index_t check_input(const Tensor<index_t>& tokens, const Tensor<std::uint8_t>& keep) const {
    const index_t documents = o_.answer == Answer::pair ? 2 : 1;
    check(tokens.rank() == 2 && tokens.size(1) > 0 && tokens.size(1) % documents == 0,
          "[{}] expected tokens [B,{}N], got {}", name(), documents == 2 ? "2" : "", tokens.shape());
    const index_t n = tokens.size(1) / documents;
    check(n <= o_.max_length, "[{}] got {} tokens, the model was made for at most {}", name(), n,
          o_.max_length);
    check(!keep.defined() || keep.shape() == tokens.shape(),
          "[{}] expected a keep-mask of the tokens' shape {}, got {}", name(), tokens.shape(),
          keep.defined() ? keep.shape() : Shape{});
    return n;
  }

  template <Floating A>
  Tensor<A> embed(const Tensor<index_t>& tokens) const {
    return tokens_.template rows<A>(tokens);
  }

  /// All blocks. The positions are added in front of every one of them, as the reference does.
  template <Floating A>
  Tensor<A> run_blocks(Tensor<A> x, const Tensor<std::uint8_t>& keep) const {
    const Tensor<A> positions = positions_.template rows<A>(x.size(1));
    for (const auto& owner : blocks_) {
      const SequenceBlock<T>& block = *owner;
      if (positions.defined()) x = x + positions;
      x = recompute_blocks_
              ? recompute([&block, keep](const Tensor<A>& t) { return block(t, keep); }, x)
              : block(x, keep);
    }
    return x;
  }

 private:
  static const SequenceOptions& checked(const SequenceOptions& o) {
    check_options(o);
    return o;
  }

  SequenceOptions o_;
  TokenEmbedding<T> tokens_;
  PositionEmbedding<T> positions_;
  std::unique_ptr<nn::Rotary<T>> rotary_;
  std::vector<std::unique_ptr<SequenceBlock<T>>> blocks_;
  bool in_bf16_ = false, recompute_blocks_ = false;
};

}  // namespace flr::models
