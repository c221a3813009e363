// The performer's attention in bf16, for heads of 8, 16, 32 or 64 channels.
#pragma once

#include <string>

#include "common/stream.hpp"

namespace flr::cuda {

bool performer_fits(const PerformerParams<bf16>&, std::string* why);
void performer_passes(const PerformerParams<bf16>&);
void performer_backward_passes(const PerformerBackwardParams<bf16>&);

}  // namespace flr::cuda
