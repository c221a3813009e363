// What a run says before its first step.
#pragma once

#include "flr/data/dataset.hpp"
#include "flr/models/model.hpp"
#include "options.hpp"

namespace pdebench {

void print_summary(const Options& options, const flr::data::Dataset& set,
                   flr::models::Model<float>& model);

}  // namespace pdebench
