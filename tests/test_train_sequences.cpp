// Sequences in training: batches, losses and scores.
#include <doctest/doctest.h>

#include "flr/train/sequence_score.hpp"
#include "flr/train/sequence_task.hpp"

using namespace flr;

namespace {

data::SequenceSet set_of(std::vector<std::uint8_t> tokens, std::vector<index_t> lengths,
                         std::vector<std::int32_t> labels, index_t classes, bool each) {
  data::SequenceSet set;
  const index_t n = static_cast<index_t>(lengths.size());
  set.tokens = data::Array(tokens, {n, static_cast<index_t>(tokens.size()) / n});
  set.lengths = std::move(lengths), set.labels = std::move(labels);
  set.token_labels = each, set.classes = classes, set.vocabulary = 6;
  return set;
}

/// Answers a token with its own id modulo the classes, and a sequence with its first token's.
class Echo : public models::SequenceModel<float> {
 public:
  Echo(const models::SequenceOptions& o) : SequenceModel(o) {}
  const char* name() const override { return "echo"; }
  Tensor<float> operator()(const Tensor<index_t>& tokens,
                           const Tensor<std::uint8_t>&) const override {
    const index_t classes = options().labels, n = tokens.size(1);
    std::vector<float> z;
    for (index_t id : tokens.to_vector())
      for (index_t c = 0; c < classes; ++c)
        z.push_back(classes == 1 ? (id % 2 ? 1.f : -1.f) : (id % classes == c ? 2.f : 0.f));
    const Tensor<float> y = from_vector(z, {tokens.size(0), n, classes});
    return options().answer == models::Answer::token ? y : squeeze(slice(y, 1, 0, 1), 1);
  }
};

models::SequenceOptions options(index_t labels, bool each) {
  models::SequenceOptions o;
  o.vocabulary = 6, o.labels = labels, o.max_length = 3, o.channels = 4, o.heads = 1, o.blocks = 0;
  o.answer = each ? models::Answer::token : models::Answer::sequence;
  return o;
}

}  // namespace

TEST_CASE("scores of sequences, of tokens, and which class is taken for which") {
  const auto whole = set_of({1, 2, 3, 5, 4, 0, 0, 0, 0, 3, 0, 0}, {3, 2, 0, 1}, {1, 1, 0, 0}, 3, false);
  Echo model(options(3, false));
  const auto s = train::score_sequences(model, whole, {}, 3);
  CHECK(s.sequences == 4);
  CHECK(s.right_sequences == 3);  // 5 mod 3 = 2, not 1
  CHECK(s.accuracy() == 0.75);
  CHECK(s.confusion == std::vector<index_t>{2, 0, 0, 0, 1, 1, 0, 0, 0});
  const double right = std::log(std::exp(2.0) + 2) - 2, wrong = std::log(std::exp(2.0) + 2);
  CHECK(s.loss == doctest::Approx((3 * right + wrong) / 4));

  constexpr std::int32_t no = data::ignored_label;
  const auto each = set_of({1, 2, 3, 5, 4, 0}, {3, 2}, {1, 0, 0, 1, no, no}, 2, true);
  Echo tokens(options(1, true));
  const auto t = train::score_sequences(tokens, each, {.binary = true}, 8);
  CHECK(t.answers == 4);
  CHECK(t.right_answers == 3);
  CHECK(t.right_sequences == 1);
  CHECK(t.token_accuracy() == 0.75);
}

TEST_CASE("one logit: the mean over the labels that count") {
  constexpr std::int32_t no = data::ignored_label;
  const auto each = set_of({1, 2, 3, 5, 4, 0}, {3, 2}, {1, 0, no, 1, no, no}, 2, true);
  const auto step = train::make_sequence_step<double>(each, {.binary = true}, {0, 1});
  const auto z = from_vector(std::vector<double>{0.5, -1, 9, 2, 9, 9}, {2, 3, 1});
  const auto counted = from_vector(std::vector<double>{0.5, -1, 2});
  const auto target = from_vector(std::vector<double>{1, 0, 1});
  CHECK(train::sequence_loss(z, step).item() ==
        doctest::Approx(bce_with_logits(counted, target).item()));
  CHECK(step.keep.to_vector() == std::vector<std::uint8_t>{1, 1, 1, 1, 1, 0});
}

TEST_CASE("an empty sequence keeps one token, so that its mean has a value") {
  const auto set = set_of({1, 2, 0, 0}, {2, 0}, {0, 1}, 2, false);
  const auto step = train::make_sequence_step<float>(set, {}, {0, 1});
  CHECK(step.keep.to_vector() == std::vector<std::uint8_t>{1, 1, 1, 0});
  CHECK_FALSE(train::make_sequence_step<float>(set, {.mask = false}, {0, 1}).keep.defined());
}

TEST_CASE("pairs stand side by side") {
  auto set = set_of({1, 2, 3, 4}, {2, 1}, {0, 1}, 2, false);
  set.second = data::Array(std::vector<std::uint8_t>{5, 0, 2, 1}, {2, 2});
  set.second_lengths = {1, 2};
  const auto step = train::make_sequence_step<float>(set, {}, {1, 0});
  CHECK(step.tokens.to_vector() == std::vector<index_t>{3, 4, 2, 1, 1, 2, 5, 0});
  CHECK(step.keep.to_vector() == std::vector<std::uint8_t>{1, 0, 1, 1, 1, 1, 1, 0});
}

TEST_CASE("a recursive model sees a batch for all its steps, and starts anew with the next") {
  const auto set = set_of({1, 2, 3, 5, 4, 1, 2, 2, 1, 3, 1, 5}, {3, 3, 3, 3},
                          {0, 1, 2, 0, 1, 2, 1, 1, 0, 2, 0, 1}, 3, true);
  models::SequenceOptions o = options(3, true);
  o.blocks = 1, o.mixer = "transformer";
  manual_seed(2);
  models::Trm<double> model(o, {.steps = 3, .inner = 1, .recursions = 1});
  train::SequenceTask<double> task(model, set, {.mask = false}, 2, 7);
  CHECK(task.batches() == 6);
  CHECK(task.inputs() == 3);
  const auto tokens = [](const StepInputs& in) { return Tensor<index_t>(in[0]).to_vector(); };
  const StepInputs first = task.batch(0, 0), second = task.batch(0, 1), fourth = task.batch(0, 3);
  CHECK(tokens(first) == tokens(second));
  CHECK(tokens(first) != tokens(fourth));
  // The loss of each step is that of supervising by hand.
  const Tensor<index_t> ids(first[0]), labels(first[1]);
  auto state = model.start(ids);
  for (index_t i = 0; i < 3; ++i) {
    const double by_hand = cross_entropy(model.supervise(ids, {}, state), labels).item();
    CHECK(task.loss(task.batch(0, i)).item() == by_hand);
  }
  const Tensor<index_t> next(fourth[0]), next_labels(fourth[1]);
  auto fresh = model.start(next);
  CHECK(task.loss(fourth).item() ==
        cross_entropy(model.supervise(next, {}, fresh), next_labels).item());
  const auto carried = task.carried();
  REQUIRE(carried.size() == 2);
  CHECK(carried[0].value.to_vector() == fresh.y.to_vector());
}
