// What a run says before its first step.
#pragma once

#include "flr/data/dataset.hpp"
#include "flr/models/model.hpp"
#include "flr/optim.hpp"
#include "options.hpp"

namespace pdebench {

void print_summary(const Options& options, const flr::data::Dataset& set,
                   flr::models::Model<float>& model);
/// Which parameters decay and which do not.
void print_groups(const Options& options, flr::optim::Optimizer<float>& optimizer);

}  // namespace pdebench
