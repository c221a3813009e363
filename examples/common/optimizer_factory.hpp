// The optimiser and the schedule that the options describe.
#pragma once

#include <memory>

#include "flr/optim.hpp"
#include "run_options.hpp"

namespace program {

std::unique_ptr<flr::optim::Optimizer<float>> make_optimizer(const RunOptions& options,
                                                             flr::nn::Module<float>& model);

/// The schedule of a run of `steps` optimiser steps.
std::unique_ptr<flr::optim::Schedule> make_schedule(const RunOptions& options, flr::index_t steps);

}  // namespace program
