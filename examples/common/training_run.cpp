#include "training_run.hpp"

#include <chrono>

#include "flr/core/runtime.hpp"
#include "flr/train/checkpoint_folder.hpp"
#include "flr/train/interrupt.hpp"
#include "machine.hpp"
#include "optimizer_factory.hpp"

namespace program {

using namespace flr;
namespace fs = std::filesystem;

namespace {
double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
}  // namespace

TrainingRun::TrainingRun(const char* program, RunOptions& options)
    : program_(program), run_(options), default_out_(std::string("out/") + program) {
  set_up_machine(run_);
  if (!run_.restart) return;
  folder_ = run_.folder();
  lock_.emplace(folder_);
}

void TrainingRun::make_optimizer_for(nn::Module<float>& model) {
  optimizer_ = make_optimizer(run_, model);
}

train::TrainerOptions TrainingRun::trainer_options() const {
  train::TrainerOptions t;
  t.epochs = run_.epochs, t.steps = run_.steps;
  t.batch_size = run_.batch_size, t.accumulate = run_.grad_accumulation_steps;
  t.clip = run_.clip_grad_norm;
  t.ema_decay = run_.ema ? run_.ema_decay : 0;
  t.seed = static_cast<std::uint64_t>(run_.seed);
  t.capture = !run_.no_graph;
  return t;
}

Cadence TrainingRun::cadence() const {
  const index_t unit = run_.steps > 0 ? 1 : trainer_->steps_per_epoch();
  const index_t length = run_.steps > 0 ? run_.steps : run_.epochs;
  Cadence every;
  every.statistics =
      unit * (run_.stats_every > 0 ? run_.stats_every : std::max<index_t>(1, length / 10));
  every.checkpoint = run_.checkpoint_every > 0 ? unit * run_.checkpoint_every : every.statistics;
  every.log = (trainer_->total_steps() + 19'999) / 20'000;  // a long run's record stays readable
  return every;
}

void TrainingRun::begin(std::unique_ptr<train::Trainer<float>> trainer) {
  trainer_ = std::move(trainer);
  trainer_->set_schedule(make_schedule(run_, trainer_->total_steps()));
  every_ = cadence();
  if (run_.restart)
    resume_folder();
  else
    start_folder();
}

void TrainingRun::start_folder() {
  const auto fill = [&](const fs::path& at, const std::string& name) {
    run_.exp_name = name;
    fill_folder(at);
  };
  folder_ = train::create_run_folder(run_.out, run_.exp_name, fill);
  lock_.emplace(folder_);
  metrics_.emplace(train::MetricsLog::create(folder_ / "metrics.jsonl"));
}

void TrainingRun::resume_folder() {
  check_folder();
  for (const fs::path& place : {folder_, folder_ / "pictures", folder_ / "fields"})
    train::remove_leftovers(place);
  // A run that was killed before its first checkpoint begins anew, as it began.
  const auto latest = train::latest_checkpoint(folder_);
  const index_t step = latest ? trainer_->load(*latest).step : 0;
  saved_step_ = latest ? step : -1;
  if (latest) take_scores(*latest);
  metrics_.emplace(train::MetricsLog::resume(folder_ / "metrics.jsonl", step));
}

void TrainingRun::print_training(std::string_view samples) {
  fmt::print("training   {} steps ({} an epoch) of {} {}; {}, {} at {:g}, seed {}\n",
             trainer_->total_steps(), trainer_->steps_per_epoch(),
             run_.batch_size * run_.grad_accumulation_steps, samples, run_.optimizer, run_.schedule,
             run_.learning_rate, run_.seed);
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

int TrainingRun::run() {
  fmt::print("run        {}\n", folder_.string());
  print_header();
  if (trainer_->step_count() > 0) fmt::print("going on after step {}\n", trainer_->step_count());
  const index_t total = trainer_->total_steps(), first = trainer_->step_count();
  const bool on_cpu = trainer_->device().is_cpu();
  double seconds = 0;  // in steps alone
  {
    const train::InterruptGuard interrupt;
    train::Progress progress(total, first, {.title = run_.exp_name});
    while (!trainer_->done()) {
      const double start = now();
      guarded([&] { trainer_->step(); });
      const index_t n = trainer_->step_count();
      const bool last = trainer_->done();
      const bool measured = n % every_.statistics == 0 || last;
      const bool saving = n % every_.checkpoint == 0 || last;
      // A GPU is left alone with its steps until there is something to show.
      if (on_cpu || progress.due() || measured || saving) catch_up(progress);
      seconds += now() - start;

      if (measured) progress.message(fmt::format("step {}: {}", n, measure()));
      if (saving) save(measured);
      if (measured) write_curve();
      if (interrupt.requested() && !last) {
        catch_up(progress);
        progress.finish();
        return stop(interrupt.signal());
      }
    }
    progress.finish();
  }
  if (total > first) {
    const double rate = static_cast<double>(total - first) / seconds;
    fmt::print("trained    {} steps in {}: {:.2f} steps/s, {:.3f} s an epoch\n", total - first,
               train::format_duration(seconds), rate,
               static_cast<double>(trainer_->steps_per_epoch()) / rate);
  }
  if (!on_cpu) fmt::print("{}", memory_table(trainer_->device()));
  write_curve();
  finish();
  fmt::print("results in {}\n", folder_.string());
  return 0;
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

void TrainingRun::save(bool measured) {
  metrics_->sync();  // a checkpoint counts on the lines before it
  train::CheckpointWriter checkpoint(folder_);
  trainer_->save(checkpoint.folder());
  if (measured) write_scores(checkpoint.folder());
  checkpoint.commit();
  if (measured) write_scores(folder_);
  saved_step_ = trainer_->step_count();
}

int TrainingRun::stop(int signal) {
  if (saved_step_ != trainer_->step_count()) save(false);
  const std::string out = run_.out == default_out_ ? "" : fmt::format(" --out {}", run_.out);
  fmt::print("stopped after step {} of {}; go on with: {} --restart true --exp_name {}{}\n",
             trainer_->step_count(), trainer_->total_steps(), program_, run_.exp_name, out);
  return 128 + signal;
}

}  // namespace program
