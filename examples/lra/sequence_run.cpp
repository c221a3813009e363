#include "sequence_run.hpp"

#include "flr/core/runtime.hpp"
#include "flr/train/sequence_task.hpp"
#include "groups.hpp"
#include "loss_curve.hpp"
#include "machine.hpp"
#include "model_factory.hpp"
#include "run.hpp"
#include "summary.hpp"

namespace lra {

using namespace flr;
namespace fs = std::filesystem;

int train(Options options) {
  SequenceRun run(options);
  return run.run();
}

SequenceRun::SequenceRun(Options& options)
    : TrainingRun("lra", options),
      o_(options),
      task_(load_problem(options)),
      how_(inputs_of(options, task_)) {
  manual_seed(static_cast<std::uint64_t>(o_.seed));
  model_ = make_model(o_, task_);
  model_->recompute_blocks(o_.recompute);
  if (!o_.load_weights_path.empty()) train::load_weights(o_.load_weights_path, *model_);
  program::place_model(o_, *model_);
  make_optimizer_for(*model_);
  auto task = std::make_unique<train::SequenceTask<float>>(
      *model_, task_.train, how_, o_.batch_size, static_cast<std::uint64_t>(o_.seed));
  begin(std::make_unique<train::Trainer<float>>(*model_, *optimizer_, std::move(task),
                                                trainer_options()));
}

void SequenceRun::fill_folder(const fs::path& folder) {
  save_fingerprint(folder, task_);
  program::to_config(flags_of(o_)).save(folder / "config.yaml");
}

void SequenceRun::check_folder() {
  check_same_data(folder_, task_);
}

void SequenceRun::take_scores(const fs::path& checkpoint) {
  if (!fs::exists(checkpoint / "accuracy.json")) return;
  scores_ = read_scores(checkpoint);
  lra::write_scores(folder_, scores_);
}

void SequenceRun::print_header() {
  print_summary(o_, task_, *model_);
  program::print_groups(o_, *optimizer_);
  print_training("sequences");
  fmt::print("{}", memory_table(program::device_of(o_)));
}

std::string SequenceRun::measure() {
  const bool each = task_.train.token_labels;
  const Scores raw = lra::measure(*model_, task_, how_, o_.evaluation_batch());
  scores_ = {};
  add_scores(scores_, "", raw, each);
  test_ = raw.test;
  if (trainer_->ema()) {
    optim::AveragedWeights<float> averaged(*trainer_->ema());
    const Scores ema = lra::measure(*model_, task_, how_, o_.evaluation_batch());
    add_scores(scores_, "ema_", ema, each);
    if (o_.weights == "ema") test_ = ema.test;
  }
  metrics_->write(trainer_->step_count(), scores_.values);
  return describe(scores_);
}

void SequenceRun::write_scores(const fs::path& folder) {
  lra::write_scores(folder, scores_);
}

void SequenceRun::write_curve() {
  program::write_curves(folder_, o_.exp_name,
                        {{"dev_accuracy", "dev"},
                         {"test_accuracy", "test"},
                         {"test_token_accuracy", "test, tokens"},
                         {"ema_test_accuracy", "test, EMA weights"}},
                        {.label = "accuracy"});
}

void SequenceRun::finish() {
  if (!test_) {  // a restart after the last step
    const auto score = [&] {
      return train::score_sequences(*model_, task_.test_or_dev(), how_, o_.evaluation_batch());
    };
    if (o_.weights == "ema" && trainer_->ema()) {
      optim::AveragedWeights<float> averaged(*trainer_->ema());
      test_ = score();
    } else {
      test_ = score();
    }
  }
  write_confusion(folder_, *test_);
  if (!scores_.values.empty()) fmt::print("{}\n", describe(scores_));
}

}  // namespace lra
