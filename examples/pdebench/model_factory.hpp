// The model that the options describe.
#pragma once

#include <memory>

#include "flr/models/model.hpp"
#include "options.hpp"

namespace pdebench {

/// A freshly initialised model, from the random state: c_in features of a point to c_out values.
std::unique_ptr<flr::models::Model<float>> make_model(const Options& options, flr::index_t c_in,
                                                      flr::index_t c_out);

}  // namespace pdebench
