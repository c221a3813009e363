// Device memory: a size-binned caching pool, its statistics, and a table of where memory went.
#pragma once

#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "flr/core/device.hpp"
#include "flr/core/error.hpp"
#include "flr/core/scratch.hpp"

namespace flr {

/// What an allocation is for; a MemoryScope names it, the memory table groups by it.
enum class MemoryUse : unsigned char { other, parameters, gradients, optimizer, ema, data, activations, count };

inline const char* name_of(MemoryUse use) {
  constexpr const char* names[] = {"other",         "parameters", "gradients",  "optimizer state",
                                   "EMA weights",   "data",       "activations"};
  return names[static_cast<int>(use)];
}

/// Bytes of one device: in use now, the most ever in use, and kept for reuse.
struct MemoryStats {
  index_t active = 0, peak = 0, cached = 0, allocations = 0;
  index_t active_by_use[static_cast<int>(MemoryUse::count)] = {};
  index_t peak_by_use[static_cast<int>(MemoryUse::count)] = {};
};

/// Keeps freed blocks by size and hands them out again. Sizes are rounded up so that a training
/// step finds the blocks of the step before; at most `cache_limit` bytes are kept.
class Pool {
 public:
  struct Raw {
    void* (*allocate)(std::size_t bytes);  ///< null when there is no memory left
    void (*free)(void*);
  };
  explicit Pool(Raw raw) : raw_(raw) {
    const char* off = std::getenv("FLR_POOL");
    if (off && std::string(off) == "off") cache_limit_ = 0;
  }

  /// The size that a request for `bytes` really takes: four steps per power of two.
  static index_t rounded(index_t bytes) {
    if (bytes <= 256) return 256;
    index_t step = 64;
    while (step * 8 < bytes) step *= 2;
    return (bytes + step - 1) / step * step;
  }

  void* take(index_t bytes, MemoryUse use) {
    const index_t size = rounded(bytes);
    std::lock_guard lock(mutex_);
    void* block = nullptr;
    if (auto it = cache_.find(size); it != cache_.end() && !it->second.empty()) {
      block = it->second.back();
      it->second.pop_back();
      stats_.cached -= size;
    } else {
      block = allocate(size);
      ++stats_.allocations;
    }
    const int u = static_cast<int>(use);
    stats_.active += size;
    stats_.active_by_use[u] += size;
    if (stats_.active > stats_.peak) stats_.peak = stats_.active;
    if (stats_.active_by_use[u] > stats_.peak_by_use[u])
      stats_.peak_by_use[u] = stats_.active_by_use[u];
    return block;
  }

  void give(void* block, index_t bytes, MemoryUse use) {
    const index_t size = rounded(bytes);
    std::lock_guard lock(mutex_);
    stats_.active -= size;
    stats_.active_by_use[static_cast<int>(use)] -= size;
    if (!keep_all_ && stats_.cached + size > cache_limit_) return raw_.free(block);
    cache_[size].push_back(block);
    stats_.cached += size;
  }

  /// Returns all kept blocks to the system.
  void trim() {
    std::lock_guard lock(mutex_);
    if (!keep_all_) free_kept();
  }

  /// While this is on no block goes back to the system: a captured step has its addresses.
  void keep_all(bool on) {
    std::lock_guard lock(mutex_);
    keep_all_ = on;
  }

  void set_cache_limit(index_t bytes) {
    cache_limit_ = bytes;
    trim();
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak = stats_.active;
    for (int u = 0; u < static_cast<int>(MemoryUse::count); ++u)
      stats_.peak_by_use[u] = stats_.active_by_use[u];
  }

  MemoryStats stats() const {
    std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  /// A new block; where memory is out, the kept blocks make room.
  void* allocate(index_t size) {
    void* block = raw_.allocate(static_cast<std::size_t>(size));
    if (!block && stats_.cached > 0 && !keep_all_) {
      free_kept();
      block = raw_.allocate(static_cast<std::size_t>(size));
    }
    check(block != nullptr, "[memory] cannot allocate {} bytes; {} are in use", size, stats_.active);
    return block;
  }
  void free_kept() {
    for (auto& [size, blocks] : cache_)
      for (void* block : blocks) raw_.free(block);
    cache_.clear();
    stats_.cached = 0;
  }

  Raw raw_;
  index_t cache_limit_ = index_t{1} << 40;
  bool keep_all_ = false;
  std::map<index_t, std::vector<void*>> cache_;
  MemoryStats stats_;
  mutable std::mutex mutex_;
};

namespace detail {
/// Never destroyed: tensors in static storage may outlive any destructor order.
inline Pool& cpu_pool() {
  static Pool* pool = new Pool({aligned_try, aligned_delete});
  return *pool;
}
inline MemoryUse& current_memory_use() {
  thread_local MemoryUse use = MemoryUse::other;
  return use;
}
}  // namespace detail

/// Allocations made in this scope count as `use`.
class MemoryScope {
 public:
  explicit MemoryScope(MemoryUse use) : before_(detail::current_memory_use()) {
    detail::current_memory_use() = use;
  }
  ~MemoryScope() { detail::current_memory_use() = before_; }
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  MemoryUse before_;
};

inline std::string human_bytes(index_t bytes) {
  const double b = static_cast<double>(bytes);
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (bytes < index_t{1} << 20) return fmt::format("{:.1f} KiB", b / 1024);
  if (bytes < index_t{1} << 30) return fmt::format("{:.1f} MiB", b / (1 << 20));
  return fmt::format("{:.2f} GiB", b / (1 << 30));
}

}  // namespace flr
