// Random numbers: a counter-based stream, so that any draw can be made again, in any order.
#pragma once

#include <cstdint>

namespace flr {

/// Names the next draw. Every random operation uses (seed, step, call) and then counts `call` up;
/// the trainer sets `step`. Draws within a call are numbered by element.
struct RandomState {
  std::uint64_t seed = 0, step = 0, call = 0;

  bool operator==(const RandomState&) const = default;
};

inline RandomState& random_state() {
  thread_local RandomState state;
  return state;
}

/// Starts the stream anew.
inline void manual_seed(std::uint64_t seed) { random_state() = {seed, 0, 0}; }

/// Moves the stream to a training step: what is drawn there depends on nothing drawn before.
inline void set_random_step(std::uint64_t step) {
  random_state().step = step;
  random_state().call = 0;
}

namespace detail {
inline RandomState next_draw() {
  RandomState& state = random_state();
  RandomState draw = state;
  ++state.call;
  return draw;
}
}  // namespace detail

}  // namespace flr
