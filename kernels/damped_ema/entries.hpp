// Damped moving averages in float and bf16, of 1 to most_damped_ema_order rates a channel.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda {

/// States that a thread has registers for.
inline constexpr index_t most_damped_ema_order = 32;

template <class T>
void damped_ema_chunks(const DampedEmaParams<T>&);
template <class T>
void damped_ema_backward_chunks(const DampedEmaBackwardParams<T>&);

}  // namespace flr::cuda
