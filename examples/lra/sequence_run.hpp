// Training on a task of sequences.
#pragma once

#include "options.hpp"
#include "problem.hpp"
#include "scores.hpp"
#include "training_run.hpp"

namespace lra {

class SequenceRun final : public program::TrainingRun {
 public:
  /// Loads the data and builds everything, which refuses what can be refused; then makes the run's
  /// folder, or for a restart loads its latest checkpoint. The options must outlive it.
  explicit SequenceRun(Options& options);
  /// Ends the trainer first: its loader may still read the data for a next batch.
  ~SequenceRun() override { trainer_.reset(); }

 protected:
  void fill_folder(const std::filesystem::path& folder) override;
  void check_folder() override;
  void take_scores(const std::filesystem::path& checkpoint) override;
  void print_header() override;
  std::string measure() override;
  void write_scores(const std::filesystem::path& folder) override;
  void write_curve() override;
  void finish() override;

 private:
  Options& o_;
  flr::data::SequenceTask task_;
  flr::train::SequenceInputs how_;
  std::unique_ptr<flr::models::SequenceModel<float>> model_;
  RunScores scores_;
  std::optional<flr::train::SequenceScore> test_;  ///< of the weights that --weights names
};

}  // namespace lra
