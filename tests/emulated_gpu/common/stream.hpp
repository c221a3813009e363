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

template <class T>
class Scratch {
 public:
  explicit Scratch(index_t n) : memory_(std::size_t(n)) {}
  operator T*() const { return data(); }
  T* data() const { return memory_.data(); }

 private:
  mutable std::vector<T> memory_;
};

template <class Kernel>
void allow_shared(Kernel*, int, const char*) {}

constexpr index_t ceil_div(index_t a, index_t b) {
  return (a + b - 1) / b;
}

}  // namespace flr::cuda
