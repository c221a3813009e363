// Everything that a run needs to go on with the same bits: weights, average, moments, position.
#pragma once

#include <optional>

#include "flr/optim.hpp"
#include "flr/train/weights.hpp"

namespace flr::train {

/// Where a run stands. Random numbers and batches are functions of the step, so this is all.
struct Position {
  index_t step = 0;  ///< optimiser steps done
  std::uint64_t seed = 0;
  double loss = 0;  ///< of the last step
};

/// The JSON file state.json of a checkpoint.
void write_position(const std::filesystem::path& file, const Position& position);
Position read_position(const std::filesystem::path& file);

/// Writes model.safetensors, optimizer.safetensors, ema.safetensors (if averaged) and state.json
/// into an existing folder; `carried` (Task::carried) goes with the moments. The caller makes the folder appear at once (run_folder.hpp).
template <Floating T>
void save_checkpoint(const std::filesystem::path& folder, const nn::Module<T>& module,
                     optim::Optimizer<T>& optimizer, optim::EMA<T>* ema, const Position& position,
                     const std::vector<optim::NamedState<T>>& carried = {}) {
  save_weights(folder / "model.safetensors", module);
  data::SafeTensors moments;
  for (const auto& s : optimizer.state()) moments.tensors[s.name] = data::to_array(s.value);
  for (const auto& s : carried) moments.tensors["carried." + s.name] = data::to_array(s.value);
  data::write_safetensors(folder / "optimizer.safetensors", moments);
  if (ema) {
    optim::AveragedWeights<T> averaged(*ema);
    save_weights(folder / "ema.safetensors", module);
  }
  write_position(folder / "state.json", position);
}

/// Reads what save_checkpoint wrote.
template <Floating T>
Position load_checkpoint(const std::filesystem::path& folder, nn::Module<T>& module,
                         optim::Optimizer<T>& optimizer, optim::EMA<T>* ema,
                         const std::vector<optim::NamedState<T>>& carried = {}) {
  const Position position = read_position(folder / "state.json");
  if (ema) {
    // The averaged weights pass through the module into the shadow.
    load_weights(folder / "ema.safetensors", module);
    ema->shadow().copy_(module.arena().values);
  }
  load_weights(folder / "model.safetensors", module);
  const data::SafeTensors moments = data::read_safetensors(folder / "optimizer.safetensors");
  std::vector<optim::NamedState<T>> wanted = optimizer.state();
  for (const auto& s : carried) wanted.push_back({"carried." + s.name, s.value});
  for (auto& s : wanted) {
    const data::Array& array = moments.at(s.name);
    check(Shape(array.shape()) == s.value.shape(),
          "[checkpoint] {}: '{}' has shape {}, this model's optimiser expects {}",
          (folder / "optimizer.safetensors").string(), s.name, Shape(array.shape()),
          s.value.shape());
    s.value.copy_(data::to_tensor<T>(array).to(s.value.device()));
  }
  optimizer.set_steps(position.step);
  return position;
}

}  // namespace flr::train
