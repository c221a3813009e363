// Causal FLARE in float and bf16, for at most 128 latents and heads of at most 64 channels.
#pragma once

#include <string>

#include "common/stream.hpp"

namespace flr::cuda {

template <class T>
bool causal_flare_fits(const CausalFlareParams<T>&, std::string* why);
template <class T>
void causal_flare_segments(const CausalFlareParams<T>&);
template <class T>
void causal_flare_backward_segments(const CausalFlareBackwardParams<T>&);

}  // namespace flr::cuda
