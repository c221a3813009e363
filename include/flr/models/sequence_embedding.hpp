// Tokens and positions as vectors, under the reference's names.
#pragma once

#include "flr/models/sequence_options.hpp"

namespace flr::models {

/// token_embed.weight [entries, C]: tokens [B,N] → [B,N,C], with dropout.
template <Floating T>
class TokenEmbedding : public nn::Module<T> {
 public:
  explicit TokenEmbedding(const SequenceOptions& o)
      : drop_(o.emb_drop),
        table_(o.vocabulary + (o.padding == o.vocabulary ? 1 : 0), o.channels, o.padding) {
    this->add_child("token_embed", table_);
  }

  template <Floating A>
  Tensor<A> rows(const Tensor<index_t>& tokens) const {
    return dropout(table_.template rows<A>(tokens), drop_, this->training());
  }
  void clear_padding() { table_.clear_padding(); }

 private:
  double drop_;
  nn::Embedding<T> table_;
};

/// Vectors of the positions 0 … N−1: a trained table pe.weight [length, C], or fixed sines and cosines
/// times a trained scalar pos_scale, C^−½ at first.
template <Floating T>
class PositionEmbedding : public nn::Module<T> {
 public:
  explicit PositionEmbedding(const SequenceOptions& o) {
    const index_t length = o.positions_needed();
    if (o.positions == Positions::learned) {
      table_ = std::make_unique<nn::Embedding<T>>(length, o.channels);
      this->add_child("pe", *table_);
    } else if (o.positions == Positions::sinusoid) {
      sines_ = this->add_buffer("pe", nn::sinusoid<T>(length, o.channels), false);
      scale_ = this->add_parameter("pos_scale", {}, nn::Role::other);
      nn::fill(scale_, 1 / std::sqrt(static_cast<double>(o.channels)));
    }
  }

  /// [N,C], or undefined where nothing is added.
  template <Floating A>
  Tensor<A> rows(index_t tokens) const {
    if (table_) return slice(this->template parameter_as<A>(table_->weight), 0, 0, tokens);
    if (!sines_.defined()) return {};
    return (slice(sines_, 0, 0, tokens) * scale_).template to<A>();
  }

 private:
  std::unique_ptr<nn::Embedding<T>> table_;
  Tensor<T> sines_, scale_;
};

}  // namespace flr::models
