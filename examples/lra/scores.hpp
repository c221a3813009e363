// Accuracies of a run, in text and as files.
#pragma once

#include "flr/data/sequence_set.hpp"
#include "flr/models/sequence_model.hpp"
#include "flr/train/metrics.hpp"
#include "flr/train/sequence_score.hpp"

namespace lra {

/// On the development set, by which the reference scores, and on the test set.
struct Scores {
  flr::train::SequenceScore dev, test;
};

Scores measure(flr::models::SequenceModel<float>& model, const flr::data::SequenceTask& task,
               const flr::train::SequenceInputs& how, flr::index_t batch);

/// Scores of the raw weights and, where an average of them is kept, of it.
struct RunScores {
  std::vector<flr::train::Metric> values;  ///< dev_accuracy, test_accuracy, …, ema_dev_accuracy, …
};
void add_scores(RunScores& run, const std::string& prefix, const Scores& scores, bool token_labels);

/// "dev accuracy 0.3712, test 0.3655", with accuracies of tokens and the average's where they are.
std::string describe(const RunScores& scores);

/// accuracy.json in a folder, in one piece, and back.
void write_scores(const std::filesystem::path& folder, const RunScores& scores);
RunScores read_scores(const std::filesystem::path& folder);

/// confusion.csv and confusion.png of the test set: rows are true classes, columns answers.
void write_confusion(const std::filesystem::path& folder, const flr::train::SequenceScore& score);

}  // namespace lra
