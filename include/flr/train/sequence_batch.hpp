// Batches of sequences as a step takes them, and their loss.
#pragma once

#include "flr/data/sequence_batch.hpp"
#include "flr/flr.hpp"

namespace flr::train {

/// How sequences become batches.
struct SequenceInputs {
  bool mask = true;     ///< models are told which tokens are padding
  bool binary = false;  ///< one logit for yes and no, not one for each class
};

/// Everything a model and its loss are given. For classes `labels` is [B] or [B,L]; for one logit
/// `target` is 0 or 1 and `weight` 1/(number of labels that count), 0 where a label is ignored.
template <Floating T>
struct SequenceStep {
  Tensor<index_t> tokens;       ///< [B,L]; of pairs [B,2L]
  Tensor<std::uint8_t> keep;    ///< the same shape; undefined without a mask
  Tensor<index_t> labels;
  Tensor<T> target, weight;
};

namespace detail {

/// [B,L] and [B,L] → [B,2L].
template <Scalar S>
Tensor<S> side_by_side(const Tensor<S>& a, const Tensor<S>& b) {
  const index_t rows = a.size(0), n = a.size(1);
  auto y = Tensor<S>::empty({rows, 2 * n});
  for (index_t r = 0; r < rows; ++r) {
    std::copy_n(a.data() + r * n, n, y.mutable_data() + 2 * r * n);
    std::copy_n(b.data() + r * n, n, y.mutable_data() + (2 * r + 1) * n);
  }
  return y;
}

/// A mean over no tokens has no value: of an empty sequence the first padding counts as a token.
inline void keep_one_token(Tensor<std::uint8_t>& keep, index_t length) {
  std::uint8_t* k = keep.mutable_data();
  for (index_t row = 0; row < keep.numel() / length; ++row) {
    std::uint8_t* first = k + row * length;
    if (std::find(first, first + length, std::uint8_t{1}) == first + length) *first = 1;
  }
}

}  // namespace detail

/// The given samples, on the host.
template <Floating T>
SequenceStep<T> make_sequence_step(const data::SequenceSet& set, const SequenceInputs& how,
                                   std::vector<index_t> samples) {
  MemoryScope use(MemoryUse::data);
  data::SequenceBatch b = data::make_sequence_batch(set, std::move(samples));
  SequenceStep<T> step;
  step.tokens = set.paired() ? detail::side_by_side(b.tokens, b.second) : b.tokens;
  if (how.mask) {
    step.keep = set.paired() ? detail::side_by_side(b.keep, b.second_keep) : b.keep;
    detail::keep_one_token(step.keep, set.length());
  }
  step.labels = b.labels;
  if (!how.binary) return step;
  index_t counted = 0;
  const std::vector<index_t> labels = b.labels.to_vector();
  for (index_t label : labels) counted += label != data::ignored_label;
  std::vector<T> target, weight;
  for (index_t label : labels) {
    const bool counts = label != data::ignored_label;
    target.push_back(counts ? static_cast<T>(label) : T(0));
    weight.push_back(counts ? T(1) / static_cast<T>(counted) : T(0));
  }
  step.target = from_vector(target, b.labels.shape());
  step.weight = from_vector(weight, b.labels.shape());
  return step;
}

/// Mean cross-entropy, or binary cross-entropy of a single logit, over the labels that count.
template <Floating T>
Tensor<T> sequence_loss(const Tensor<T>& logits, const SequenceStep<T>& step) {
  if (!step.target.defined()) return cross_entropy(logits, step.labels, data::ignored_label);
  check(logits.size(-1) == 1, "[sequence_loss] expected one logit, got {}", logits.shape());
  return sum(map((softplus(_1) - _1 * _2) * _3, squeeze(logits, -1), step.target, step.weight));
}

}  // namespace flr::train
