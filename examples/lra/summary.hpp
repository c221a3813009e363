// What a run says before its first step.
#pragma once

#include "flr/data/sequence_set.hpp"
#include "flr/models/sequence_model.hpp"
#include "options.hpp"

namespace lra {

void print_summary(const Options& options, const flr::data::SequenceTask& task,
                   const flr::models::SequenceModel<float>& model);

}  // namespace lra
