// Causal linear attention in float and bf16, for heads of at most causal::most_width channels.
#pragma once

#include <string>

#include "common/stream.hpp"

namespace flr::cuda {

template <class T>
bool causal_linear_fits(const CausalLinearParams<T>&, std::string* why);
template <class T>
void causal_linear_segments(const CausalLinearParams<T>&);
template <class T>
void causal_linear_backward_segments(const CausalLinearBackwardParams<T>&);

}  // namespace flr::cuda
