// One training run: its folder, its record, its checkpoints, its loop. Programs add what they train
// and how they measure it.
#pragma once

#include <memory>
#include <optional>

#include "flr/train/metrics.hpp"
#include "flr/train/progress.hpp"
#include "flr/train/run_folder.hpp"
#include "flr/train/trainer.hpp"
#include "run_options.hpp"

namespace program {

/// How often things happen, in optimiser steps.
struct Cadence {
  flr::index_t statistics = 1, checkpoint = 1, log = 1;
};

class TrainingRun {
 public:
  virtual ~TrainingRun() = default;
  TrainingRun(const TrainingRun&) = delete;
  TrainingRun& operator=(const TrainingRun&) = delete;

  /// Trains to the end: 0; or to a signal: 128 + signal.
  int run();

 protected:
  /// `options` are those of the derived class, which outlive this. Chooses the machine; for a
  /// restart takes hold of the run's folder, so that nothing is loaded for a run that is at work
  /// already.
  TrainingRun(const char* program, RunOptions& options);

  /// Makes the optimiser for a model that has been placed.
  void make_optimizer_for(flr::nn::Module<float>& model);
  flr::train::TrainerOptions trainer_options() const;
  /// Takes the trainer, gives it its schedule, then makes the run's folder, or for a restart loads
  /// its latest checkpoint.
  void begin(std::unique_ptr<flr::train::Trainer<float>> trainer);
  /// The cadence that the options ask for.
  virtual Cadence cadence() const;

  /// What a new run's folder holds from the start, config.yaml among it.
  virtual void fill_folder(const std::filesystem::path& folder) = 0;
  /// Refuses to go on where the folder belongs to other data; `checkpoint` has scores to take over,
  /// if there is one.
  virtual void check_folder() = 0;
  virtual void take_scores(const std::filesystem::path& checkpoint) = 0;
  virtual void print_header() = 0;
  /// Measures the model, records it in metrics_ and returns a line that says so.
  virtual std::string measure() = 0;
  /// Writes the last scores, as files of their own.
  virtual void write_scores(const std::filesystem::path& folder) = 0;
  virtual void write_curve() = 0;
  /// After the last step, or after a restart with nothing left to do.
  virtual void finish() = 0;

  void print_training(std::string_view samples);

  const char* program_;
  RunOptions& run_;
  std::string default_out_;
  std::unique_ptr<flr::optim::Optimizer<float>> optimizer_;
  std::unique_ptr<flr::train::Trainer<float>> trainer_;
  Cadence every_;
  std::filesystem::path folder_;
  std::optional<flr::train::MetricsLog> metrics_;

 private:
  /// Calls the trainer; an error names the last good checkpoint.
  template <class F>
  auto guarded(F&& call) -> decltype(call());
  void start_folder();
  void resume_folder();
  /// Records the steps since the last time, which waits for a GPU to have done them.
  void catch_up(flr::train::Progress& progress);
  /// Saves what a restart needs, and the scores where they belong to this step.
  void save(bool measured);
  int stop(int signal);

  std::optional<flr::train::RunLock> lock_;
  flr::index_t saved_step_ = -1;
};

}  // namespace program
