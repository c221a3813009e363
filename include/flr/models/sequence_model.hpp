// What models on token sequences share: embeddings, positions, and a stack of blocks of any mixer.
#pragma once

#include "flr/models/sequence_block.hpp"
#include "flr/models/sequence_embedding.hpp"

namespace flr::models {

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
  void recompute_blocks(bool on) {
    check(!on || !packed_embed_.defined(),
          "[{}] blocks of {} are not recomputed, since they carry packed tokens", name(), o_.mixer);
    recompute_blocks_ = on;
  }

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
    if (mixer.packed) {
      check(o.latents > 0, "[lra] expected at least one packed token, got {}", o.latents);
      packed_embed_ = this->add_parameter("packed_embed", {o.latents, o.channels}, nn::Role::latent);
      nn::normal(packed_embed_, 1 / std::sqrt(static_cast<double>(o.channels)));
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

  /// All blocks. The positions are added in front of every one of them, as the reference does; packed
  /// tokens, where the mixer carries some, start from their parameters.
  template <Floating A>
  nn::ResidualStream<A> run_blocks(Tensor<A> x, const Tensor<std::uint8_t>& keep) const {
    const Tensor<A> positions = positions_.template rows<A>(x.size(1));
    Tensor<A> packed;
    if (packed_embed_.defined())
      packed = unsqueeze(this->template parameter_as<A>(packed_embed_), 0);
    nn::ResidualStream<A> stream{std::move(x), {}};
    for (const auto& owner : blocks_) {
      const SequenceBlock<T>& block = *owner;
      if (packed.defined()) {
        const mixers::LunaOutput<A> both = block(stream.sum(positions), packed, keep);
        stream = {both.x, {}}, packed = both.p;
      } else if (recompute_blocks_) {
        const auto run = [&block, keep](const Tensor<A>& t) {
          return block(nn::ResidualStream<A>{t, {}}, Tensor<A>{}, keep).sum();
        };
        stream = {recompute(run, stream.sum(positions)), {}};
      } else {
        stream = block(std::move(stream), positions, keep);
      }
    }
    return stream;
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
  Tensor<T> packed_embed_;  ///< [M,C] ~ N(0, 1/C), of mixers that carry packed tokens
  std::vector<std::unique_ptr<SequenceBlock<T>>> blocks_;
  bool in_bf16_ = false, recompute_blocks_ = false;
};

}  // namespace flr::models
