// Barriers in shared memory by their 32-bit addresses (PTX ISA, "mbarrier"): 8 bytes each. A phase is
// over when `count` threads have arrived, and the next one begins. Before the first phase the one
// before counts as over, so that first steps need no exception.
#pragma once

namespace flr::cuda {

__device__ inline void barrier_init(unsigned at, int count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(at), "r"(count) : "memory");
}
/// Waits until the last phase of this parity, which must be the current one or the one before, is
/// over. What was written before the arrivals is seen after it.
__device__ inline void barrier_wait(unsigned at, unsigned parity) {
  unsigned done;
  do {
    asm volatile(
        "{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
        : "=r"(done)
        : "r"(at), "r"(parity)
        : "memory");
  } while (!done);
}
__device__ inline void barrier_arrive(unsigned at) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(at) : "memory");
}

}  // namespace flr::cuda
