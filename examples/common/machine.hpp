// Where a run computes, and in what precision.
#pragma once

#include "flr/core/device.hpp"
#include "run_options.hpp"

namespace program {

/// Chooses device, precision and threads. Asking for a device that is not there is refused here.
void set_up_machine(const RunOptions& options);

/// One line for a run's header.
std::string describe_machine(const RunOptions& options);

/// The device that the options name.
flr::Device device_of(const RunOptions& options);

/// Moves a model to the device, with the activations that the options ask for. To be called after
/// its weights are loaded and before an optimiser is made.
template <class Model>
void place_model(const RunOptions& options, Model& model) {
  model.to(device_of(options));
  model.activate_in_bf16(options.bf16());
}

}  // namespace program
