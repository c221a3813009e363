// What a mixer of a model on token sequences is made from.
#pragma once

#include "flr/models/sequence_options.hpp"
#include "flr/models/token_layer.hpp"

namespace flr::models {

/// Where a mixer stands in its model.
template <Floating T>
struct MixerPlace {
  const SequenceOptions& options;
  int block = 0;
  const nn::Rotary<T>* rotary = nullptr;  ///< the model's, with Positions::rotary
};

}  // namespace flr::models
