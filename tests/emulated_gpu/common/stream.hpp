// In place of kernels/common/stream.hpp: memory of the host, a chip of few multiprocessors.
#pragma once

#include <vector>

#include "block.hpp"
#include "flr/core/backend.hpp"

namespace flr::cuda {

inline void check_launch(const char*) {}
inline int stream() {
  return 0;
}
inline int multiprocessors() {
  return 3;
}
/// Tests are built for another one too.
#ifndef FLR_EMULATED_CAPABILITY
#define FLR_EMULATED_CAPABILITY 90
#endif
inline constexpr int emulated_capability = FLR_EMULATED_CAPABILITY;
inline int compute_capability() {
  return emulated_capability;
}

template <class T>
class Scratch {
 public:
  explicit Scratch(index_t n) : memory_(std::size_t(n)) {}
  T* data() const { return memory_.data(); }
  operator T*() const { return data(); }

 private:
  mutable std::vector<T> memory_;
};

/// What a block may have of shared memory; tests make it less.
inline int& max_shared_bytes() {
  static int bytes = 227 * 1024;
  return bytes;
}
template <class Kernel>
void allow_shared(Kernel*, int bytes, const char*) {
  if (bytes > max_shared_bytes()) ::emulated::give_up("more shared memory than there is");
}
inline void check_cuda(int, const char*) {}

constexpr index_t ceil_div(index_t a, index_t b) {
  return (a + b - 1) / b;
}

}  // namespace flr::cuda

template <class Kernel>
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, std::size_t) {
  return *blocks = 1, 0;
}
