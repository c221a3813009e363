// Matrix products whose result may have another type than the operands.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda {

/// GemmParams with C given apart: Out is T or, for bf16 operands, float. `bias` (n values) is added
/// to every row; null for none.
template <class T, class Out>
void gemm_into(const GemmParams<T>& p, Out* c, const Out* bias = nullptr);

}  // namespace flr::cuda
