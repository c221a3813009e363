// The two forms of the bf16 backward pass (backward_bf16.cu); each writes partial sums of all
// parameter gradients and says how many.
#pragma once

#include "residual_mlp/entries.hpp"

namespace flr::cuda::mlp {

/// Blocks of the fused form, a number that no device changes: it decides the order of sums.
constexpr index_t fused_blocks = 132;
/// Everything in one launch, for widths of 32 and 64 whose operands fit in shared memory.
bool fused_backward_fits(const ResidualMlpBackwardParams<bf16>&);
int fused_backward_splits(const ResidualMlpBackwardParams<bf16>&);
void fused_backward(const ResidualMlpBackwardParams<bf16>&, float* partials);

/// Chain and weight gradients in a launch each, chunk of rows by chunk of rows.
int split_backward_splits(const ResidualMlpBackwardParams<bf16>&);
void split_backward(const ResidualMlpBackwardParams<bf16>&, float* partials, int splits);

}  // namespace flr::cuda::mlp
