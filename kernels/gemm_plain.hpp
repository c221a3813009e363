// A matrix product without demands on sizes or alignment, for what cuBLASLt does not take.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda {

/// C = alpha · op(A) op(B) + beta · C as GemmParams says; k = 0 gives beta · C. Out is T or, for
/// bf16 operands, float. `bias` as in Product.
template <class T, class Out>
void multiply_plain(const GemmParams<T>& p, Out* c, const Out* bias = nullptr);

}  // namespace flr::cuda
