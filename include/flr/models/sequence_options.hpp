// What a model on token sequences is made of: the options of the Long Range Arena shell.
#pragma once

#include <optional>
#include <string>

#include "flr/mixers.hpp"

namespace flr::models {

enum class Pooling : unsigned char { mean, max, cls };
enum class Positions : unsigned char {
  learned,   ///< a table of max_length rows
  sinusoid,  ///< sines and cosines times a trainable scalar
  rotary,    ///< turns queries and keys inside attention; nothing is added
  none,
};
/// What the logits belong to.
enum class Answer : unsigned char {
  sequence,  ///< one row of logits for a sequence
  pair,      ///< one row for two documents, which are encoded alike and joined behind pooling
  token,     ///< one row for each token; nothing is pooled
};

struct SequenceOptions {
  index_t vocabulary = 0, labels = 0;  ///< one label: a logit for yes and no
  index_t max_length = 0;              ///< tokens of a sequence, or of each document of a pair
  Answer answer = Answer::sequence;
  bool mlp_head = false;  ///< Linear, exact GELU, Linear in place of one Linear
  Pooling pool = Pooling::mean;
  /// The id of padding (−1: none): its embedding is zero and stays so. An id beyond the vocabulary
  /// gets a row of its own.
  index_t padding = -1;
  Positions positions = Positions::learned;
  double emb_drop = 0, cls_drop = 0, attn_drop = 0, proj_drop = 0;

  int blocks = 4;
  index_t channels = 128, heads = 8;
  std::optional<Activation> act;  ///< each mixer's own if not given: see lra_mixers.hpp
  bool rmsnorm = false;

  std::string mixer = "transformer";  ///< a name of lra_mixers.hpp
  double mlp_ratio = 4;               ///< of blocks with a transformer's MLP
  // flare, multilinear and their kin: residual MLPs.
  index_t latents = 128;  ///< or luna's packed tokens
  double attn_scale = 1;
  bool qk_norm = false;
  int kv_layers = 3, ffn_layers = 3;
  double kv_ratio = 1, ffn_ratio = 1;
  index_t linformer_k = 256;
  std::string kernel = "identity";  ///< feature map of linear attention and its kin
  bool norm_q = true, norm_k = true;
  double qk_dim_ratio = 1;
  index_t performer_features = 256, performer_redraw_interval = 0;
  bool performer_normalize_inputs = true;
  index_t num_states = 2;
  std::string third_order_method = "third_order";

  /// The reference's quirks: the faulty rotary layout, padding that is embedded like a word, padded
  /// tokens that read zeros from FLARE's latents, and those of the mixers (their own `legacy`).
  bool legacy = false;

  nn::NormKind norm() const { return rmsnorm ? nn::NormKind::rms : nn::NormKind::layer; }
  /// Tokens that a mixer sees: a class token stands in front.
  index_t positions_needed() const { return max_length + (pool == Pooling::cls ? 1 : 0); }
  index_t hidden(double ratio) const {
    return static_cast<index_t>(ratio * static_cast<double>(channels));
  }
};

/// Refuses options that make no model.
inline void check_options(const SequenceOptions& o) {
  check(o.vocabulary > 0 && o.labels > 0 && o.max_length > 0,
        "[lra] expected a vocabulary, labels and a longest length; got {}, {} and {}", o.vocabulary,
        o.labels, o.max_length);
  check(o.padding >= -1 && o.padding <= o.vocabulary,
        "[lra] expected a padding id from 0 to {} or -1 for none, got {}", o.vocabulary, o.padding);
  check(o.blocks >= 0, "[lra] expected 0 or more blocks, got {}", o.blocks);
  nn::head_dim("lra", o.channels, o.heads);
  check(o.answer != Answer::token || o.pool != Pooling::cls,
        "[lra] a model that answers for each token pools nothing, so it takes no class token");
}

}  // namespace flr::models
