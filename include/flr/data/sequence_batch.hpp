// Batches of a sequence set as tensors.
#pragma once

#include "flr/core/create.hpp"
#include "flr/data/sequence_set.hpp"

namespace flr::data {

/// tokens [B,L]; second [B,L] of pairs, else undefined; labels [B] or, for token labels, [B,L];
/// keep [B,L] is 1 before the padding (second_keep likewise).
struct SequenceBatch {
  Tensor<std::int64_t> tokens, second, labels;
  Tensor<std::uint8_t> keep, second_keep;
  std::vector<index_t> samples;
};

/// The given samples as one batch, on the CPU.
inline SequenceBatch make_sequence_batch(const SequenceSet& set, std::vector<index_t> samples) {
  check(!samples.empty(), "[loader] expected at least one sample");
  for (index_t s : samples)
    check(s >= 0 && s < set.samples(), "[loader] sample {} does not exist; there are {}", s,
          set.samples());
  const index_t b = static_cast<index_t>(samples.size()), l = set.length();
  const index_t labels = set.token_labels ? l : 1;
  const auto keep = [&](const std::vector<index_t>& lengths) {
    auto t = Tensor<std::uint8_t>::empty({b, l});
    std::uint8_t* to = t.mutable_data();
    for (index_t s : samples)
      for (index_t i = 0; i < l; ++i) *to++ = i < lengths[static_cast<std::size_t>(s)];
    return t;
  };
  SequenceBatch batch;
  batch.tokens = Tensor<std::int64_t>::empty({b, l});
  batch.labels = Tensor<std::int64_t>::empty(set.token_labels ? Shape{b, l} : Shape{b});
  if (set.paired()) batch.second = Tensor<std::int64_t>::empty({b, l});
  for (index_t k = 0; k < b; ++k) {
    const index_t s = samples[static_cast<std::size_t>(k)];
    set.copy_tokens(s, batch.tokens.mutable_data() + k * l);
    set.copy_labels(s, batch.labels.mutable_data() + k * labels);
    if (set.paired()) set.copy_second(s, batch.second.mutable_data() + k * l);
  }
  batch.keep = keep(set.lengths);
  if (set.paired()) batch.second_keep = keep(set.second_lengths);
  batch.samples = std::move(samples);
  return batch;
}

}  // namespace flr::data
