// Working memory of kernels: aligned, freed at the end of the scope, never initialised.
#pragma once

#include <cstdlib>

#include "flr/core/shape.hpp"

namespace flr::detail {

/// 64-byte aligned memory; null when there is none.
inline void* aligned_try(std::size_t bytes) {
  return bytes ? std::aligned_alloc(64, (bytes + 63) / 64 * 64) : nullptr;
}
/// The same; throws flr::Error when there is none.
inline void* aligned_new(std::size_t bytes) {
  void* p = aligned_try(bytes);
  if (bytes && !p) fail("[memory] cannot allocate {} bytes", bytes);
  return p;
}
inline void aligned_delete(void* p) { std::free(p); }

/// An uninitialised array of plain values for the length of a scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(index_t n) : data_(static_cast<T*>(aligned_new(sizeof(T) * n))) {}
  ~Scratch() { aligned_delete(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }
  T& operator[](index_t i) const { return data_[i]; }

 private:
  T* data_;
};

}  // namespace flr::detail
