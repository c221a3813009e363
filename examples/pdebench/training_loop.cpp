#include <chrono>

#include "flr/train/interrupt.hpp"
#include "output.hpp"
#include "run.hpp"
#include "statistics.hpp"
#include "training_run.hpp"

namespace pdebench {

using namespace flr;

namespace {
double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
}  // namespace

int train(Options options) {
  TrainingRun run(options);
  return run.run();
}

int TrainingRun::run() {
  print_header();
  const index_t total = trainer_->total_steps(), first = trainer_->step_count();
  const bool on_cpu = trainer_->device().is_cpu();
  double seconds = 0;  // in steps alone
  {
    const train::InterruptGuard interrupt;
    train::Progress progress(total, first, {.title = o_.exp_name});
    while (!trainer_->done()) {
      const double start = now();
      step();
      const index_t n = trainer_->step_count();
      const bool last = trainer_->done();
      const bool measured = n % every_.statistics == 0 || last;
      const bool saving = n % every_.checkpoint == 0 || last;
      // A GPU is left alone with its steps until there is something to show.
      if (on_cpu || progress.due() || measured || saving) catch_up(progress);
      seconds += now() - start;

      if (measured) {
        last_errors_ = measure_all();
        record(*last_errors_);
        progress.message(fmt::format("step {}: {}", n, describe(*last_errors_)));
      }
      if (saving) save(measured ? last_errors_ : std::nullopt);
      if (measured) write_loss_curve(folder_, o_.exp_name);
      if (interrupt.requested() && !last) {
        catch_up(progress);
        progress.finish();
        return stop(interrupt.signal());
      }
    }
    progress.finish();
  }
  finish(seconds, total - first);
  return 0;
}

int TrainingRun::stop(int signal) {
  if (saved_step_ != trainer_->step_count()) save({});
  const std::string out = o_.out == Options().out ? "" : fmt::format(" --out {}", o_.out);
  fmt::print("stopped after step {} of {}; go on with: pdebench --restart true --exp_name {}{}\n",
             trainer_->step_count(), trainer_->total_steps(), o_.exp_name, out);
  return 128 + signal;
}

void TrainingRun::finish(double seconds, index_t steps) {
  if (steps > 0) {
    const double rate = static_cast<double>(steps) / seconds;
    fmt::print("trained    {} steps in {}: {:.2f} steps/s, {:.3f} s an epoch\n", steps,
               train::format_duration(seconds), rate,
               static_cast<double>(trainer_->steps_per_epoch()) / rate);
  }
  if (!trainer_->device().is_cpu()) fmt::print("{}", memory_table(trainer_->device()));
  write_loss_curve(folder_, o_.exp_name);
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
  fmt::print("results in {}\n", folder_.string());
}

}  // namespace pdebench
