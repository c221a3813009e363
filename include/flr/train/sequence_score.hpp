// How well a model answers on a set of sequences.
#pragma once

#include <cmath>

#include "flr/train/sequence_batch.hpp"

namespace flr::train {

/// Counts of a set. An answer is a class for a sequence, or for each of its tokens; a sequence is right
/// if all its answers are.
struct SequenceScore {
  double loss = 0;  ///< mean over the answers that count
  index_t answers = 0, right_answers = 0;
  index_t sequences = 0, right_sequences = 0;
  index_t classes = 0;
  std::vector<index_t> confusion;  ///< [true class, answer]

  double token_accuracy() const { return ratio(right_answers, answers); }
  double accuracy() const { return ratio(right_sequences, sequences); }

 private:
  static double ratio(index_t a, index_t b) {
    return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : std::nan("");
  }
};

namespace detail {

/// The class that logits [classes] or one logit stand for, and the loss against a label.
template <Floating T>
std::pair<index_t, double> judge(const T* z, index_t n, index_t label) {
  if (n == 1) {
    const double v = static_cast<double>(z[0]);
    const double softplus = std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v)));
    return {v > 0, softplus - v * static_cast<double>(label)};
  }
  const index_t best = std::max_element(z, z + n) - z;
  double total = 0;
  for (index_t i = 0; i < n; ++i) total += std::exp(static_cast<double>(z[i] - z[best]));
  return {best, std::log(total) + static_cast<double>(z[best] - z[label])};
}

}  // namespace detail

/// Goes through the set in batches, all of its padded length.
template <Floating T>
SequenceScore score_sequences(models::SequenceModel<T>& model, const data::SequenceSet& set,
                              const SequenceInputs& how, index_t batch) {
  NoGrad scope;
  const bool training = model.training();
  model.eval();
  const Device device = model.device();
  SequenceScore score;
  score.classes = set.classes;
  score.confusion.assign(static_cast<std::size_t>(set.classes * set.classes), 0);
  for (index_t begin = 0; begin < set.samples(); begin += batch) {
    std::vector<index_t> samples;
    for (index_t i = begin; i < std::min(begin + batch, set.samples()); ++i) samples.push_back(i);
    const index_t count = static_cast<index_t>(samples.size());
    SequenceStep<T> step = make_sequence_step<T>(set, {how.mask, false}, std::move(samples));
    if (step.keep.defined()) step.keep = step.keep.to(device);
    const Tensor<T> logits = model(step.tokens.to(device), step.keep);
    const std::vector<T> z = logits.to_vector();
    const std::vector<index_t> labels = step.labels.to_vector();
    const index_t n = logits.size(-1), per_sample = static_cast<index_t>(labels.size()) / count;
    for (index_t s = 0; s < count; ++s) {
      bool all = true, any = false;
      for (index_t i = s * per_sample; i < (s + 1) * per_sample; ++i) {
        const index_t label = labels[static_cast<std::size_t>(i)];
        if (label == data::ignored_label) continue;
        const auto [answer, loss] = detail::judge(z.data() + i * n, n, label);
        any = true, all = all && answer == label;
        score.loss += loss, ++score.answers, score.right_answers += answer == label;
        ++score.confusion[static_cast<std::size_t>(label * set.classes + answer)];
      }
      if (any) ++score.sequences, score.right_sequences += all;
    }
  }
  score.loss /= static_cast<double>(std::max<index_t>(1, score.answers));
  model.train(training);
  return score;
}

}  // namespace flr::train
