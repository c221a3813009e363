// Which parameters decay and which do not.
#pragma once

#include "flr/optim.hpp"
#include "run_options.hpp"

namespace program {

void print_groups(const RunOptions& options, flr::optim::Optimizer<float>& optimizer);

}  // namespace program
