// Tasks that need no files.
#include "flr/core/philox.hpp"
#include "problem.hpp"

namespace lra {

using namespace flr;

namespace {

constexpr index_t length = 16, shortest = 6, marks = 3, words = 8;  // words 1 … 3 are the marks

/// Numbers of one sample: draw k is a function of (seed, sample, k).
class Draws {
 public:
  Draws(std::uint64_t seed, index_t sample)
      : seed_(seed), sample_(static_cast<std::uint64_t>(sample)) {}
  index_t below(index_t n) {
    const auto r = Philox4x32::block(
        {static_cast<std::uint32_t>(sample_), static_cast<std::uint32_t>(sample_ >> 32), k_++, 0},
        {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
    return static_cast<index_t>(r[0] % static_cast<std::uint32_t>(n));
  }

 private:
  std::uint64_t seed_, sample_;
  std::uint32_t k_ = 0;
};

/// Words of which one is the given mark; returns how many.
index_t write_sequence(Draws& draw, index_t mark, std::uint8_t* out) {
  const index_t n = shortest + draw.below(length - shortest + 1), at = draw.below(n);
  for (index_t i = 0; i < n; ++i)
    out[i] = static_cast<std::uint8_t>(i == at ? 1 + mark : 1 + marks + draw.below(words - marks));
  return n;
}

data::SequenceSet toy_set(const std::string& task, index_t samples, std::uint64_t seed) {
  data::SequenceSet set;
  const bool pairs = task == "toy_pairs", each = task == "toy_tokens";
  std::vector<std::uint8_t> first(static_cast<std::size_t>(samples * length), 0), second = first;
  for (index_t s = 0; s < samples; ++s) {
    Draws draw(seed, s);
    const index_t mark = draw.below(marks);
    std::uint8_t* tokens = first.data() + s * length;
    const index_t n = write_sequence(draw, mark, tokens);
    set.lengths.push_back(n);
    if (each) {
      for (index_t i = 0; i < length; ++i)
        set.labels.push_back(i < n ? tokens[i] % 2 : data::ignored_label);
    } else if (pairs) {
      const bool same = draw.below(2) == 1;
      const index_t other = same ? mark : (mark + 1 + draw.below(marks - 1)) % marks;
      set.second_lengths.push_back(write_sequence(draw, other, second.data() + s * length));
      set.labels.push_back(same);
    } else {
      set.labels.push_back(static_cast<std::int32_t>(mark));
    }
  }
  set.tokens = data::Array(first, {samples, length});
  if (pairs) set.second = data::Array(second, {samples, length});
  set.token_labels = each;
  set.classes = pairs || each ? 2 : marks;
  set.vocabulary = 1 + words;
  data::check_sequences(set, "[toy]");
  return set;
}

}  // namespace

data::SequenceTask toy_task(const Options& o) {
  const auto count = [](std::int64_t asked, index_t otherwise) {
    return asked > 0 ? asked : otherwise;
  };
  const auto seed = static_cast<std::uint64_t>(o.data_seed) * 3;
  data::SequenceTask task;
  task.name = o.task;
  task.train = toy_set(o.task, count(o.train_samples, 512), seed);
  task.dev = toy_set(o.task, count(o.dev_samples, 128), seed + 1);
  task.test = toy_set(o.task, count(o.test_samples, 128), seed + 2);
  return task;
}

}  // namespace lra
