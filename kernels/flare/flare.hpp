// Attention between many tokens and few latents, as FLARE's two hops need it. The general kernels
// (sdpa.cu) ask here first and compute what is declined.
#pragma once

#include "flr/core/params.hpp"

namespace flr::cuda {

/// Whether the call was taken (and launched). Taken are: bf16 and float; D = Dv = 2, 4, 8, 16, 32 or
/// 64; no mask, no bias; scale > 0; at most 4096 rows on the shorter side; pointers and strides of
/// 16 bytes. Floats are multiplied as matmul_precision() says.
template <class T>
bool flare_sdpa(const SdpaParams<T>&);
template <class T>
bool flare_sdpa_backward(const SdpaBackwardParams<T>&);

}  // namespace flr::cuda
