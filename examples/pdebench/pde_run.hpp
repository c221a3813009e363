// Training on a set of points.
#pragma once

#include "flr/data/dataset.hpp"
#include "options.hpp"
#include "training_run.hpp"

namespace pdebench {

class PdeRun final : public program::TrainingRun {
 public:
  /// Loads the data and builds everything, which refuses what can be refused; then makes the run's
  /// folder, or for a restart loads its latest checkpoint. The options must outlive it.
  explicit PdeRun(Options& options);
  /// Ends the trainer first: its loader may still read the data for a next batch.
  ~PdeRun() override { trainer_.reset(); }

 protected:
  program::Cadence cadence() const override;
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
  flr::data::Dataset set_;
  std::unique_ptr<flr::models::Model<float>> model_;
  std::optional<flr::train::RelativeErrors> last_errors_;
};

}  // namespace pdebench
