// Linear attention in float and bf16, for heads of 8, 16 … linear_attention::most_width channels.
#pragma once

#include <string>

#include "common/stream.hpp"

namespace flr::cuda {

template <class T>
bool linear_attention_fits(const LinearAttentionParams<T>&, std::string* why);
template <class T>
void linear_attention_passes(const LinearAttentionParams<T>&);
template <class T>
void linear_attention_backward_passes(const LinearAttentionBackwardParams<T>&);

}  // namespace flr::cuda
