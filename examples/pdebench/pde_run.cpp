#include "pde_run.hpp"

#include "flr/core/runtime.hpp"
#include "flr/train/evaluate.hpp"
#include "groups.hpp"
#include "loss_curve.hpp"
#include "machine.hpp"
#include "model_factory.hpp"
#include "output.hpp"
#include "problem.hpp"
#include "recompute.hpp"
#include "run.hpp"
#include "statistics.hpp"
#include "summary.hpp"

namespace pdebench {

using namespace flr;
namespace fs = std::filesystem;

int train(Options options) {
  PdeRun run(options);
  return run.run();
}

PdeRun::PdeRun(Options& options) : TrainingRun("pdebench", options), o_(options) {
  set_ = load_problem(o_);
  check(o_.batch_size == 1 || set_.train.uniform(),
        "--batch_size {}: the samples of {} differ in their number of points, which needs batches "
        "of 1",
        o_.batch_size, o_.dataset);
  manual_seed(static_cast<std::uint64_t>(o_.seed));
  model_ = make_model(o_, set_.train.c_in, set_.train.c_out);
  if (!o_.load_weights_path.empty()) train::load_weights(o_.load_weights_path, *model_);
  program::place_model(o_, *model_);
  make_optimizer_for(*model_);
  begin(std::make_unique<train::Trainer<float>>(*model_, *optimizer_, set_, trainer_options()));
}

program::Cadence PdeRun::cadence() const {
  program::Cadence every = TrainingRun::cadence();
  // Nothing but steps between start and end.
  if (!o_.timing_only) return every;
  every.statistics = trainer_->total_steps();
  if (o_.checkpoint_every == 0) every.checkpoint = every.statistics;
  return every;
}

void PdeRun::fill_folder(const fs::path& folder) {
  save_normalizers(folder, {set_.x_norm, set_.y_norm});
  program::to_config(flags_of(o_)).save(folder / "config.yaml");
}

void PdeRun::check_folder() {
  check_same_data(folder_, set_);
}

void PdeRun::take_scores(const fs::path& checkpoint) {
  if (!fs::exists(checkpoint / "rel_error.json")) return;
  last_errors_ = train::read_rel_error(checkpoint);
  train::write_rel_error(folder_, *last_errors_);
}

void PdeRun::print_header() {
  print_summary(o_, set_, *model_);
  program::print_groups(o_, *optimizer_);
  print_training("samples");
  fmt::print("{}", memory_table(program::device_of(o_)));
  fmt::print("{}", choose_recompute(o_, set_.train, *model_));
  optimizer_->zero_grad();
  if (o_.baselines) print_baselines(set_);
}

std::string PdeRun::measure() {
  const Errors raw = pdebench::measure(*model_, set_);
  train::RelativeErrors all{raw.train, raw.test};
  if (trainer_->ema()) {
    optim::AveragedWeights<float> averaged(*trainer_->ema());
    const Errors ema = pdebench::measure(*model_, set_);
    all.ema_train = ema.train, all.ema_test = ema.test;
  }
  std::vector<train::Metric> values{{"train_rel_error", all.train}, {"test_rel_error", all.test}};
  if (all.ema_train) values.emplace_back("ema_train_rel_error", *all.ema_train);
  if (all.ema_test) values.emplace_back("ema_test_rel_error", *all.ema_test);
  metrics_->write(trainer_->step_count(), values);
  last_errors_ = all;
  return describe(all);
}

void PdeRun::write_scores(const fs::path& folder) {
  train::write_rel_error(folder, *last_errors_);
}

void PdeRun::write_curve() {
  program::write_curves(folder_, o_.exp_name,
                        {{"train_rel_error", "train relative L2"},
                         {"test_rel_error", "test relative L2"},
                         {"ema_test_rel_error", "test, EMA weights"}});
}

void PdeRun::finish() {
  if (!o_.timing_only) {
    const auto predict_test = [&] {
      return train::predict(*model_, set_.test, set_.y_norm, set_.eval_batch);
    };
    std::vector<float> prediction;
    if (o_.weights == "ema" && trainer_->ema()) {
      optim::AveragedWeights<float> averaged(*trainer_->ema());
      prediction = predict_test();
    } else {
      prediction = predict_test();
    }
    write_predictions(folder_, set_, prediction, o_.data_dims);
  }
  if (last_errors_) fmt::print("relative L2 {}\n", describe(*last_errors_));
}

}  // namespace pdebench
