// A run that was trained, for looking at.
#pragma once

#include <memory>

#include "flr/models/model.hpp"
#include "options.hpp"

namespace pdebench {

/// The model of a run with the weights of a checkpoint: "raw" or "ema".
std::unique_ptr<flr::models::Model<float>> load_model(const Options& options,
                                                      const std::filesystem::path& checkpoint,
                                                      const std::string& weights, flr::index_t c_in,
                                                      flr::index_t c_out);

}  // namespace pdebench
