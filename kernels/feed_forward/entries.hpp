// The transformer's feed-forward layer in bf16, y = W₂ act(W₁x + b₁) + b₂, whose hidden activations
// never reach memory in the forward pass and are not kept for the backward one.
#pragma once

#include <string>

#include "common/stream.hpp"
#include "flr/core/feed_forward_params.hpp"

namespace flr::cuda {

bool feed_forward_fits(const FeedForwardParams<bf16>&, std::string* why);
void feed_forward_passes(const FeedForwardParams<bf16>&);
void feed_forward_backward_passes(const FeedForwardBackwardParams<bf16>&);

}  // namespace flr::cuda
