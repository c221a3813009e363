// What backward makes again instead of keeping it.
#pragma once

#include "flr/data/dataset.hpp"
#include "flr/models/model.hpp"
#include "options.hpp"

namespace pdebench {

/// Sets what backward recomputes. `auto` takes the least that lets a step fit into the device's
/// memory, by an estimate of what backward keeps; on the CPU, nothing. Returns a line that says so.
std::string choose_recompute(const Options& options, const flr::data::PointSet& train,
                             flr::models::Model<float>& model);

}  // namespace pdebench
