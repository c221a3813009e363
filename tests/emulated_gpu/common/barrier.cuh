// In place of kernels/common/barrier.cuh: "mbarrier" in the emulated block's shared memory.
#pragma once

#include "shared.cuh"

namespace flr::cuda {

struct EmulatedBarrier {
  std::uint16_t count, left;
  std::uint32_t phase;
};
static_assert(sizeof(EmulatedBarrier) == 8);

inline void barrier_init(unsigned at, int count) {
  emulated_shared::save(at, EmulatedBarrier{std::uint16_t(count), std::uint16_t(count), 0});
}
inline void barrier_wait(unsigned at, unsigned parity) {
  while (emulated_shared::load<EmulatedBarrier>(at).phase % 2 == parity)
    ::emulated::Block::current()->pause();
}
inline void barrier_arrive(unsigned at) {
  auto barrier = emulated_shared::load<EmulatedBarrier>(at);
  if (--barrier.left == 0) barrier.left = barrier.count, ++barrier.phase;
  emulated_shared::save(at, barrier);
  ::emulated::Block::current()->go_on();
}

}  // namespace flr::cuda
