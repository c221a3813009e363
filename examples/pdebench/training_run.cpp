#include "training_run.hpp"

#include "flr/core/runtime.hpp"
#include "flr/train/checkpoint_folder.hpp"
#include "machine.hpp"
#include "model_factory.hpp"
#include "optimizer_factory.hpp"
#include "output.hpp"
#include "problem.hpp"
#include "recompute.hpp"
#include "run.hpp"
#include "statistics.hpp"
#include "summary.hpp"

namespace pdebench {

using namespace flr;
namespace fs = std::filesystem;

namespace {

train::TrainerOptions trainer_options(const Options& o) {
  train::TrainerOptions t;
  t.epochs = o.epochs, t.steps = o.steps;
  t.batch_size = o.batch_size, t.accumulate = o.grad_accumulation_steps;
  t.clip = o.clip_grad_norm;
  t.ema_decay = o.ema ? o.ema_decay : 0;
  t.seed = static_cast<std::uint64_t>(o.seed);
  t.capture = !o.no_graph;
  return t;
}

Cadence cadence_of(const Options& o, index_t steps_per_epoch, index_t total) {
  const index_t unit = o.steps > 0 ? 1 : steps_per_epoch, length = o.steps > 0 ? o.steps : o.epochs;
  Cadence every;
  every.statistics = unit * (o.stats_every > 0 ? o.stats_every : std::max<index_t>(1, length / 10));
  if (o.timing_only) every.statistics = total;  // nothing but steps between start and end
  every.checkpoint = o.checkpoint_every > 0 ? unit * o.checkpoint_every : every.statistics;
  every.log = (total + 19'999) / 20'000;  // a long run's record stays readable
  return every;
}

}  // namespace

TrainingRun::TrainingRun(const Options& options) : o_(options) {
  set_up_machine(o_);
  if (o_.restart) {
    folder_ = o_.folder();
    lock_.emplace(folder_);
  }
  set_ = load_problem(o_);
  check(o_.batch_size == 1 || set_.train.uniform(),
        "--batch_size {}: the samples of {} differ in their number of points, which needs batches "
        "of 1",
        o_.batch_size, o_.dataset);
  manual_seed(static_cast<std::uint64_t>(o_.seed));
  model_ = make_model(o_, set_.train.c_in, set_.train.c_out);
  if (!o_.load_weights_path.empty()) train::load_weights(o_.load_weights_path, *model_);
  place_model(o_, *model_);
  optimizer_ = make_optimizer(o_, *model_);
  trainer_ =
      std::make_unique<train::Trainer<float>>(*model_, *optimizer_, set_, trainer_options(o_));
  trainer_->set_schedule(make_schedule(o_, trainer_->total_steps()));
  every_ = cadence_of(o_, trainer_->steps_per_epoch(), trainer_->total_steps());
  if (o_.restart)
    resume_folder();
  else
    start_folder();
}

void TrainingRun::start_folder() {
  folder_ = train::create_run_folder(o_.out, o_.exp_name, [&](const fs::path& at, const auto& name) {
    o_.exp_name = name;
    save_normalizers(at, {set_.x_norm, set_.y_norm});
    to_config(o_).save(at / "config.yaml");
  });
  lock_.emplace(folder_);
  metrics_.emplace(train::MetricsLog::create(folder_ / "metrics.jsonl"));
}

void TrainingRun::resume_folder() {
  check_same_data(folder_, set_);
  for (const fs::path& place : {folder_, folder_ / "pictures", folder_ / "fields"})
    train::remove_leftovers(place);
  // A run that was killed before its first checkpoint begins anew, as it began.
  const auto latest = train::latest_checkpoint(folder_);
  const index_t step = latest ? trainer_->load(*latest).step : 0;
  saved_step_ = latest ? step : -1;
  if (latest && fs::exists(*latest / "rel_error.json")) {
    last_errors_ = train::read_rel_error(*latest);
    train::write_rel_error(folder_, *last_errors_);
  }
  metrics_.emplace(train::MetricsLog::resume(folder_ / "metrics.jsonl", step));
}

void TrainingRun::print_header() {
  fmt::print("run        {}\n", folder_.string());
  print_summary(o_, set_, *model_);
  print_groups(o_, *optimizer_);
  fmt::print("training   {} steps ({} an epoch) of {} samples; {}, {} at {:g}, seed {}\n",
             trainer_->total_steps(), trainer_->steps_per_epoch(),
             o_.batch_size * o_.grad_accumulation_steps, o_.optimizer, o_.schedule,
             o_.learning_rate, o_.seed);
  fmt::print("{}", memory_table(device_of(o_)));
  fmt::print("{}", choose_recompute(o_, set_.train, *model_));
  optimizer_->zero_grad();
  if (trainer_->step_count() > 0) fmt::print("going on after step {}\n", trainer_->step_count());
  if (o_.baselines) print_baselines(set_);
}

template <class F>
auto TrainingRun::guarded(F&& call) -> decltype(call()) {
  try {
    return call();
  } catch (const Error& error) {
    const auto latest = train::latest_checkpoint(folder_);
    fail("{}; {}", error.what(),
         latest ? "the last good checkpoint is " + latest->string()
                : "there is no checkpoint of this run yet");
  }
}

void TrainingRun::step() {
  guarded([&] { trainer_->step(); });
}

void TrainingRun::catch_up(train::Progress& progress) {
  const auto reports = guarded([&] { return trainer_->take_reports(); });
  for (const train::StepReport& r : reports)
    if (r.step % every_.log == 0 || r.step == trainer_->total_steps())
      metrics_->write(r.step, {{"epoch", (r.step - 1) / trainer_->steps_per_epoch()},
                               {"loss", r.loss},
                               {"grad_norm", r.grad_norm},
                               {"lr", r.lr}});
  // Throws where a step after these went wrong.
  const train::StepReport last = guarded([&] { return trainer_->report(); });
  progress.update(last.step, last.loss, last.lr);
}

train::RelativeErrors TrainingRun::measure_all() {
  const Errors raw = measure(*model_, set_);
  train::RelativeErrors all{raw.train, raw.test};
  if (trainer_->ema()) {
    optim::AveragedWeights<float> averaged(*trainer_->ema());
    const Errors ema = measure(*model_, set_);
    all.ema_train = ema.train, all.ema_test = ema.test;
  }
  return all;
}

void TrainingRun::record(const train::RelativeErrors& e) {
  std::vector<train::Metric> values{{"train_rel_error", e.train}, {"test_rel_error", e.test}};
  if (e.ema_train) values.emplace_back("ema_train_rel_error", *e.ema_train);
  if (e.ema_test) values.emplace_back("ema_test_rel_error", *e.ema_test);
  metrics_->write(trainer_->step_count(), values);
}

fs::path TrainingRun::save(const std::optional<train::RelativeErrors>& errors) {
  metrics_->sync();  // a checkpoint counts on the lines before it
  train::CheckpointWriter checkpoint(folder_);
  trainer_->save(checkpoint.folder());
  if (errors) train::write_rel_error(checkpoint.folder(), *errors);
  const fs::path path = checkpoint.commit();
  if (errors) train::write_rel_error(folder_, *errors);
  saved_step_ = trainer_->step_count();
  return path;
}

}  // namespace pdebench
