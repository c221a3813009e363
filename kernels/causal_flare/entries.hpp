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

/// Bytes that gradients of scores may take while a backward runs, unless one head takes more: heads
/// are treated in groups. Tests make it less.
index_t& causal_flare_scratch();

}  // namespace flr::cuda
