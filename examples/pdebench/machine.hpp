// Where a run computes, and in what precision.
#pragma once

#include "flr/data/dataset.hpp"
#include "flr/models/model.hpp"
#include "options.hpp"

namespace pdebench {

/// Chooses device, precision and threads. Asking for a device that is not there is refused here.
void set_up_machine(const Options& options);

/// One line for a run's header.
std::string describe_machine(const Options& options);

/// The device that the options name.
flr::Device device_of(const Options& options);

/// Moves a model to the device, with the activations that the options ask for. To be called after
/// its weights are loaded and before an optimiser is made.
void place_model(const Options& options, flr::models::Model<float>& model);

}  // namespace pdebench
