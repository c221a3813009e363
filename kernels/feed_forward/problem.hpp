// The feed-forward layer's kernels as passes.cpp calls them.
#pragma once

#include "common/stream.hpp"
#include "flr/core/feed_forward_params.hpp"

namespace flr::cuda::feed_forward {

void forward(const FeedForwardParams<bf16>&);

/// What the backward kernel leaves of some rows, for products that sum over rows: a = act(W₁x + b₁)
/// and the gradients dp in front of the activation [rows,hidden], and the sums of dp over each
/// block's rows [backward_blocks(p, rows),hidden].
struct Left {
  bf16 *activations = nullptr, *gradients = nullptr;
  float* bias_sums = nullptr;
};
index_t backward_blocks(const FeedForwardParams<bf16>&, index_t rows);
/// Rows first … first + rows − 1; without dx, which is dp W₁.
void backward(const FeedForwardBackwardParams<bf16>&, index_t first, index_t rows, const Left&);

}  // namespace flr::cuda::feed_forward
