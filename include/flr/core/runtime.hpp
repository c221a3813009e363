// What is known about devices when the program runs: their pools, and the tables of a backend that
// was linked in.
#pragma once

#include "flr/core/backend.hpp"
#include "flr/core/memory.hpp"

namespace flr {

/// What a device that is not the CPU registers when its library is linked.
struct DeviceRuntime {
  const Backend<float>* f32 = nullptr;
  const Backend<double>* f64 = nullptr;
  const Backend<bf16>* bf16_ = nullptr;
  /// The pool of a device, or the private one of a captured step while that is in force.
  Pool* (*pool)(int index) = nullptr;
  /// Copies between any two devices. The host's memory is free for reuse when this returns.
  void (*copy)(void* dst, Device to, const void* src, Device from, index_t bytes) = nullptr;
  /// Copies at most 4 KiB from the host, in the order of the device's stream and without waiting.
  void (*stage)(void* dst, const void* src, index_t bytes) = nullptr;
  /// Waits until everything before has run.
  void (*synchronize)() = nullptr;
  /// One line: the device's name, memory and capability.
  std::string (*describe)() = nullptr;

  // Captured steps (graph/step.hpp). Between begin and end everything on the stream is recorded
  // instead of run, and memory comes from the pool given.
  Pool* (*new_pool)() = nullptr;
  void (*use_pool)(Pool*) = nullptr;  ///< null: the common one again
  void (*capture_begin)() = nullptr;
  void* (*capture_end)() = nullptr;  ///< an executable graph
  void (*capture_abort)() = nullptr;
  void (*graph_launch)(void* graph) = nullptr;
  void (*graph_destroy)(void* graph) = nullptr;
  /// The step that random draws of a captured step are made for.
  void (*set_random_step)(std::uint64_t step) = nullptr;

  // Optional; null: not there.
  /// Copies any number of bytes from the host, in the order of the stream and without waiting for
  /// what runs on it. The host's memory is free for reuse when this returns. Null: `copy` is used.
  void (*upload)(void* dst, const void* src, index_t bytes) = nullptr;
  /// Bytes that the device has left.
  index_t (*free_memory)() = nullptr;
};

namespace detail {
inline const DeviceRuntime*& cuda_runtime() {
  static const DeviceRuntime* runtime = nullptr;
  return runtime;
}
inline const DeviceRuntime& require_cuda() {
  check(cuda_runtime() != nullptr,
        "[device] this program was built without CUDA: link the CMake target flr::cuda to use {}",
        "--device cuda");
  return *cuda_runtime();
}

/// The pools of captured steps (graph/step.hpp); they live as long as the program.
inline std::vector<Pool*>& step_pools() {
  static std::vector<Pool*> pools;
  return pools;
}
}  // namespace detail

inline Pool& pool(Device device) {
  return device.is_cpu() ? detail::cpu_pool() : *detail::require_cuda().pool(device.index);
}

/// The table of operations for scalars of type T on a device.
template <Floating T>
const Backend<T>& backend(Device device) {
  if (device.is_cpu()) return cpu_backend<T>();
  const DeviceRuntime& runtime = detail::require_cuda();
  if constexpr (std::same_as<T, float>) return *runtime.f32;
  else if constexpr (std::same_as<T, double>) return *runtime.f64;
  else return *runtime.bf16_;
}

/// Of the common pool and those of captured steps together; their peaks are added, as if they had
/// been at the same time.
inline MemoryStats memory_stats(Device device = Device::cpu) {
  MemoryStats all = pool(device).stats();
  if (device.is_cpu()) return all;
  for (const Pool* p : detail::step_pools()) {
    if (p == &pool(device)) continue;
    const MemoryStats s = p->stats();
    all.active += s.active, all.peak += s.peak;
    all.cached += s.cached, all.allocations += s.allocations;
    for (int u = 0; u < static_cast<int>(MemoryUse::count); ++u) {
      all.active_by_use[u] += s.active_by_use[u];
      all.peak_by_use[u] += s.peak_by_use[u];
    }
  }
  return all;
}

/// Where memory is now and where it was at its peak, one line per use.
inline std::string memory_table(Device device = Device::cpu) {
  const MemoryStats s = memory_stats(device);
  std::string text = fmt::format("memory on {:<8} {:>12} {:>12}\n", device.str(), "now", "peak");
  for (int u = 0; u < static_cast<int>(MemoryUse::count); ++u)
    if (s.peak_by_use[u] > 0)
      text += fmt::format("  {:<16} {:>12} {:>12}\n", name_of(static_cast<MemoryUse>(u)),
                          human_bytes(s.active_by_use[u]), human_bytes(s.peak_by_use[u]));
  text += fmt::format("  {:<16} {:>12} {:>12}   (kept for reuse: {})\n", "all",
                      human_bytes(s.active), human_bytes(s.peak), human_bytes(s.cached));
  return text;
}

}  // namespace flr
