// Sequences of tokens with labels: one split of a Long Range Arena or reasoning task.
#pragma once

#include <string>
#include <vector>

#include "flr/core/shape.hpp"
#include "flr/data/array.hpp"

namespace flr::data {

/// The label of a token that is neither trained on nor scored.
inline constexpr std::int32_t ignored_label = -100;

/// S sequences, padded at the end to one length L. Token ids are held in one byte where the
/// vocabulary allows it (a Pathfinder-128 set is 3 GB that way) and in two otherwise; read them
/// through copy_tokens, or make batches with make_sequence_batch.
struct SequenceSet {
  Array tokens{ElementType::u8, {0, 0}};  ///< u8 or u16 [S,L]
  std::vector<index_t> lengths;           ///< [S]: tokens before the padding, 0 … L
  /// The second document of a pair (retrieval), in the same vocabulary, or [0,0].
  Array second{ElementType::u8, {0, 0}};
  std::vector<index_t> second_lengths;
  /// [S]: the class of each sequence; with token_labels [S,L], ignored_label in the padding.
  std::vector<std::int32_t> labels;
  bool token_labels = false;
  index_t classes = 0;     ///< labels are 0 … classes − 1
  index_t vocabulary = 0;  ///< ids are 0 … vocabulary − 1, the pad id among them
  index_t pad = 0;         ///< unused in sets whose sequences all have L tokens

  index_t samples() const { return tokens.extent(0); }
  index_t length() const { return tokens.extent(1); }
  bool paired() const { return second.extent(0) > 0; }

  /// The L ids of a sample, padding included, to out[0 … L).
  void copy_tokens(index_t sample, std::int64_t* out) const;
  void copy_second(index_t sample, std::int64_t* out) const;
  /// Its labels (1, or L with token_labels) to `out`.
  void copy_labels(index_t sample, std::int64_t* out) const;

  /// The given samples, in that order.
  SequenceSet select(const std::vector<index_t>& samples) const;
};

/// The element type that holds ids 0 … vocabulary − 1. Refuses more than 65,536.
ElementType token_type(index_t vocabulary);

/// Refuses a set whose parts disagree in size, or whose tokens, lengths or labels are out of range;
/// `where` starts the message. Every loader and generator ends with it.
void check_sequences(const SequenceSet& set, const std::string& where);

/// The splits of a task. FLARE.py scores on dev; tasks whose data have two splits only have dev =
/// test (`same_test`), and `test` is then empty.
struct SequenceTask {
  std::string name;
  SequenceSet train, dev, test;
  bool same_test = false;
  const SequenceSet& test_or_dev() const { return same_test ? dev : test; }
};

/// Whether any sequence of any split is shorter than its set's length.
bool has_padding(const SequenceTask& task);

}  // namespace flr::data
