// Attention between many tokens and few latents, as FLARE's two hops need it. The general kernels
// (sdpa.cu) ask here first and compute what is declined.
#pragma once

#include "flr/core/params.hpp"

namespace flr::cuda {

/// Whether the call was taken (and launched). Taken are: D = Dv a power of two from 2 to 128, to 64
/// for floats; no mask, no bias; scale > 0; at most 4096 rows on the shorter side; pointers and
/// strides of 16 bytes. Floats are multiplied as matmul_precision() says, doubles not at all.
template <class T>
bool flare_sdpa(const SdpaParams<T>&);
template <class T>
bool flare_sdpa_backward(const SdpaBackwardParams<T>&);

}  // namespace flr::cuda
