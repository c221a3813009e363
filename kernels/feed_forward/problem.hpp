// The feed-forward layer's kernels as passes.cpp calls them.
#pragma once

#include "common/stream.hpp"
#include "flr/core/feed_forward_params.hpp"

namespace flr::cuda::feed_forward {

void forward(const FeedForwardParams<bf16>&);

/// What the backward kernel leaves of some rows: the gradients dp in front of the activation
/// [rows,hidden], and of each stretch of them, backward_parts(p, rows) in all, the sums dw1 [hidden,C],
/// dw2 across, [hidden,C] too, db1 [hidden] and db2 [C].
struct Parts {
  bf16* gradients = nullptr;
  float *dw1 = nullptr, *dw2 = nullptr, *db1 = nullptr, *db2 = nullptr;
};
index_t backward_parts(const FeedForwardParams<bf16>&, index_t rows);
/// The kernels' shared memory.
int forward_bytes(const FeedForwardParams<bf16>&);
int backward_bytes(const FeedForwardParams<bf16>&);
/// Rows first … first + rows − 1; without dx, which is dp W₁.
void backward(const FeedForwardBackwardParams<bf16>&, index_t first, index_t rows, const Parts&);

}  // namespace flr::cuda::feed_forward
