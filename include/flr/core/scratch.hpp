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

/// aligned_new and aligned_delete with a few freed blocks a thread kept for its next kernel: the C
/// library gives blocks of this size back to the system, and the faults of touching them anew took
/// a tenth of attention's time. `scratch_give` wants the size that `scratch_take` was asked for.
void* scratch_take(std::size_t bytes);
void scratch_give(void* block, std::size_t bytes);

/// An uninitialised array of plain values for the length of a scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(index_t n)
      : bytes_(sizeof(T) * static_cast<std::size_t>(n)),
        data_(static_cast<T*>(scratch_take(bytes_))) {}
  ~Scratch() { scratch_give(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }
  T& operator[](index_t i) const { return data_[i]; }

 private:
  std::size_t bytes_;
  T* data_;
};

}  // namespace flr::detail

#if !defined(FLR_COMPILED) || defined(FLR_BUILDING)
namespace flr::detail {
#ifdef FLR_BUILDING
#define FLR_INLINE
#else
#define FLR_INLINE inline
#endif

/// The blocks that a thread keeps: few, and 8 MiB together at most.
class ScratchBlocks {
 public:
  ~ScratchBlocks() {
    for (int i = 0; i < count_; ++i) aligned_delete(blocks_[i].memory);
    count_ = 0, room_ = 0;  // what is given back after this is freed at once
  }
  void* take(std::size_t bytes) {
    for (int i = count_; i-- > 0;)
      if (blocks_[i].bytes == bytes) {
        void* const memory = blocks_[i].memory;
        blocks_[i] = blocks_[--count_];
        room_ += bytes;
        return memory;
      }
    return nullptr;
  }
  bool keep(void* memory, std::size_t bytes) {
    if (bytes > room_ || count_ == most) return false;
    blocks_[count_++] = {memory, bytes};
    room_ -= bytes;
    return true;
  }
  /// Less than this, malloc keeps by itself.
  static constexpr std::size_t least = 4096;

 private:
  static constexpr int most = 24;
  struct Block {
    void* memory;
    std::size_t bytes;
  };
  Block blocks_[most] = {};
  int count_ = 0;
  std::size_t room_ = std::size_t{8} << 20;
};

// Under AddressSanitizer every block keeps its own bounds and life.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool keep_scratch = false;
#elif defined(__clang__)
inline constexpr bool keep_scratch = !__has_feature(address_sanitizer);
#else
inline constexpr bool keep_scratch = true;
#endif

inline ScratchBlocks& scratch_blocks() {
  static thread_local ScratchBlocks blocks;
  return blocks;
}
/// Four sizes a power of two, so that kernels of nearly the same size share blocks.
inline std::size_t scratch_size(std::size_t bytes) {
  std::size_t step = 64;
  while (step * 8 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}
FLR_INLINE void* scratch_take(std::size_t bytes) {
  if (!keep_scratch || bytes < ScratchBlocks::least) return aligned_new(bytes);
  bytes = scratch_size(bytes);
  void* const kept = scratch_blocks().take(bytes);
  return kept ? kept : aligned_new(bytes);
}
FLR_INLINE void scratch_give(void* block, std::size_t bytes) {
  if (keep_scratch && bytes >= ScratchBlocks::least &&
      scratch_blocks().keep(block, scratch_size(bytes)))
    return;
  aligned_delete(block);
}
#undef FLR_INLINE
}  // namespace flr::detail
#endif
