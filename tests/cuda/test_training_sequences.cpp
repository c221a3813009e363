// Training on sequences on the GPU, with every mixer: a step as one CUDA graph has the bits of a plain
// one, with masks, dropout and the state that recursive models carry; and losses follow the CPU's.
#include <doctest/doctest.h>

#include <cmath>

#include "flr/cuda/cuda.hpp"
#include "flr/train/sequence_task.hpp"
#include "flr/train/trainer.hpp"

using namespace flr;

namespace {

constexpr index_t length = 24;

/// Which of three words stands first; the length differs from sequence to sequence.
data::SequenceSet first_words(bool token_labels) {
  data::SequenceSet set;
  std::vector<std::uint8_t> tokens;
  for (index_t s = 0; s < 16; ++s) {
    const index_t n = 8 + s % (length - 8);
    for (index_t i = 0; i < length; ++i)
      tokens.push_back(i < n ? static_cast<std::uint8_t>(1 + (s * 5 + i * 3 + i / 2) % 7) : 0);
    set.lengths.push_back(n);
    for (index_t i = 0; token_labels && i < length; ++i)
      set.labels.push_back(i < n ? (s + i) % 3 : data::ignored_label);
    if (!token_labels) set.labels.push_back(static_cast<std::int32_t>(s % 3));
  }
  set.tokens = data::Array(tokens, {16, length});
  set.token_labels = token_labels;
  set.classes = 3, set.vocabulary = 8;
  return set;
}

struct Setup {
  std::string mixer = "flare";
  Device device = Device::cuda;
  bool capture = true, bf16 = false, mask = true, trm = false;
  double drop = 0;
};

struct Run {
  std::unique_ptr<models::SequenceModel<float>> model;
  std::unique_ptr<optim::AdamW<float>> optimizer;
  std::unique_ptr<train::Trainer<float>> trainer;

  Run(const data::SequenceSet& set, const Setup& s) {
    manual_seed(5);
    models::SequenceOptions o;
    o.vocabulary = set.vocabulary, o.labels = set.classes, o.max_length = length;
    o.answer = set.token_labels ? models::Answer::token : models::Answer::sequence;
    o.padding = s.mask ? 0 : -1;
    o.channels = 32, o.heads = 2, o.blocks = 2, o.latents = 8, o.mixer = s.mixer;
    o.kv_layers = o.ffn_layers = 1, o.linformer_k = 8, o.kernel = "elu";
    o.emb_drop = o.attn_drop = o.proj_drop = o.cls_drop = s.drop;
    if (s.trm) model = std::make_unique<models::Trm<float>>(o, models::TrmOptions{3, 1, 2});
    else model = std::make_unique<models::Lra<float>>(o);
    model->to(s.device);
    model->activate_in_bf16(s.bf16);
    optimizer = std::make_unique<optim::AdamW<float>>(*model, optim::AdamOptions{.lr = 1e-3});
    train::TrainerOptions t;
    t.steps = 100, t.batch_size = 4, t.capture = s.capture;
    trainer = std::make_unique<train::Trainer<float>>(
        *model, *optimizer,
        std::make_unique<train::SequenceTask<float>>(
            *model, set, train::SequenceInputs{.mask = s.mask}, t.batch_size, t.seed),
        t);
  }
  std::vector<double> losses(int steps) {
    for (int i = 0; i < steps; ++i) trainer->step();
    std::vector<double> list;
    for (const auto& r : trainer->take_reports()) list.push_back(r.loss);
    return list;
  }
  std::vector<float> weights() { return model->arena().values.to_vector(); }
};

void check_same_bits(const data::SequenceSet& set, Setup s) {
  CAPTURE(s.mixer);
  CAPTURE(s.bf16);
  CAPTURE(s.mask);
  Run captured(set, s);
  s.capture = false;
  Run plain(set, s);
  CHECK(captured.losses(8) == plain.losses(8));
  CHECK(captured.trainer->captured());
  CHECK_FALSE(plain.trainer->captured());
  CHECK(captured.weights() == plain.weights());
}

}  // namespace

TEST_CASE("a captured step on sequences has the bits of a plain one, with every mixer") {
  const data::SequenceSet set = first_words(false);
  for (const auto& mixer : models::lra_mixers<float>())
    for (const bool bf16 : {false, true})
      for (const bool mask : {true, false})
        check_same_bits(set, {.mixer = mixer.name, .bf16 = bf16, .mask = mask});
}

TEST_CASE("and with dropout, and with a state that is carried from step to step") {
  for (const char* mixer : {"transformer", "flare"}) {
    check_same_bits(first_words(false), {.mixer = mixer, .drop = 0.1});
    for (const bool bf16 : {false, true})
      check_same_bits(first_words(true), {.mixer = mixer, .bf16 = bf16, .trm = true});
  }
}

TEST_CASE("losses on sequences follow the CPU's") {
  const data::SequenceSet set = first_words(false), each = first_words(true);
  for (const auto& mixer : models::lra_mixers<float>())
    for (const bool trm : {false, true}) {
      CAPTURE(mixer.name);
      CAPTURE(trm);
      Setup s{.mixer = mixer.name, .trm = trm};
      Run gpu(trm ? each : set, s);
      s.device = Device::cpu;
      Run cpu(trm ? each : set, s);
      const std::vector<double> a = gpu.losses(6), b = cpu.losses(6);
      for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::abs(a[i] - b[i]) < 2e-4 * (1 + b[i]));
    }
}
