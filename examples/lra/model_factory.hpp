// The model that the options describe.
#pragma once

#include <memory>

#include "flr/data/sequence_set.hpp"
#include "flr/models/sequence_model.hpp"
#include "options.hpp"

namespace lra {

/// A freshly initialised model for the sequences of a task, from the random state.
std::unique_ptr<flr::models::SequenceModel<float>> make_model(const Options& options,
                                                              const flr::data::SequenceTask& task);

/// The model of a run with the weights of a checkpoint ("raw" or "ema"), on its device.
std::unique_ptr<flr::models::SequenceModel<float>> load_model(
    const Options& options, const flr::data::SequenceTask& task,
    const std::filesystem::path& checkpoint, const std::string& weights);

}  // namespace lra
