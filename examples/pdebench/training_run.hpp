// One training run: its folder, its record, its checkpoints.
#pragma once

#include <memory>
#include <optional>

#include "flr/train/metrics.hpp"
#include "flr/train/progress.hpp"
#include "flr/train/run_folder.hpp"
#include "flr/train/trainer.hpp"
#include "options.hpp"

namespace pdebench {

/// How often things happen, in optimiser steps.
struct Cadence {
  flr::index_t statistics = 1, checkpoint = 1, log = 1;
};

class TrainingRun {
 public:
  /// Loads the data and builds everything, which refuses what can be refused; then makes the run's
  /// folder, or for a restart loads its latest checkpoint.
  explicit TrainingRun(const Options& options);

  /// Trains to the end: 0; or to a signal: 128 + signal.
  int run();

 private:
  void start_folder();
  void resume_folder();
  void print_header();
  /// Calls the trainer; an error names the last good checkpoint.
  template <class F>
  auto guarded(F&& call) -> decltype(call());
  void step();
  /// Records the steps since the last time, which waits for a GPU to have done them.
  void catch_up(flr::train::Progress& progress);
  flr::train::RelativeErrors measure_all();
  void record(const flr::train::RelativeErrors& errors);
  /// Saves what a restart needs; `errors` where they belong to this step.
  std::filesystem::path save(const std::optional<flr::train::RelativeErrors>& errors);
  int stop(int signal);
  void finish(double seconds, flr::index_t steps);

  Options o_;
  flr::data::Dataset set_;
  std::unique_ptr<flr::models::Model<float>> model_;
  std::unique_ptr<flr::optim::Optimizer<float>> optimizer_;
  std::unique_ptr<flr::train::Trainer<float>> trainer_;
  Cadence every_;
  std::filesystem::path folder_;
  std::optional<flr::train::RunLock> lock_;
  std::optional<flr::train::MetricsLog> metrics_;
  std::optional<flr::train::RelativeErrors> last_errors_;
  flr::index_t saved_step_ = -1;
};

}  // namespace pdebench
