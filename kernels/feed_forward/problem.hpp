// The feed-forward layer's kernels as passes.cpp calls them.
#pragma once

#include "common/stream.hpp"
#include "flr/core/feed_forward_params.hpp"

namespace flr::cuda::feed_forward {

void forward(const FeedForwardParams<bf16>&);

/// What the backward kernel leaves of some rows, for products that sum over rows: a = act(W₁x + b₁)
/// and the gradients dp in front of the activation [rows,hidden].
struct Left {
  bf16 *activations = nullptr, *gradients = nullptr;
};
/// Rows first … first + rows − 1; without dx, which is dp W₁.
void backward(const FeedForwardBackwardParams<bf16>&, index_t first, index_t rows, const Left&);

}  // namespace flr::cuda::feed_forward
