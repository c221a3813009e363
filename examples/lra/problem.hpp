// The data of a run.
#pragma once

#include "flr/data/sequence_set.hpp"
#include "flr/train/sequence_batch.hpp"
#include "options.hpp"

namespace lra {

/// The task that the options name, loaded or generated. Refuses an unknown one with the list.
flr::data::SequenceTask load_problem(const Options& options);

/// Small generated tasks that a model learns in a minute: `toy` (which of three words occurs), with
/// `toy_pairs` (do two documents hold the same one) and `toy_tokens` (an answer for each token).
flr::data::SequenceTask toy_task(const Options& options);

/// How the task's sequences become batches: two classes are one logit, as in the reference.
flr::train::SequenceInputs inputs_of(const Options& options, const flr::data::SequenceTask& task);

/// data.yaml: what a run's data looked like, so that a restart with others is refused.
void save_fingerprint(const std::filesystem::path& folder, const flr::data::SequenceTask& task);
void check_same_data(const std::filesystem::path& folder, const flr::data::SequenceTask& task);

}  // namespace lra
