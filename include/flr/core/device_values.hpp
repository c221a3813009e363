// A few plain values in a device's memory: what the host decides for a step and kernels read.
#pragma once

#include "flr/core/storage.hpp"

namespace flr {

/// Writes a few values to a device's memory, in the order of its stream. The caller's memory is
/// free at once.
inline void stage_bytes(void* to, Device device, const void* values, index_t bytes) {
  if (device.is_cpu()) std::memcpy(to, values, static_cast<std::size_t>(bytes));
  else detail::require_cuda().stage(to, values, bytes);
}

/// `count` values of a trivially copyable type on a device.
template <class S>
class DeviceValues {
  static_assert(std::is_trivially_copyable_v<S>);

 public:
  DeviceValues(int count, Device device)
      : storage_(count * index_t{sizeof(S)}, device), count_(count) {}

  S* data() const { return static_cast<S*>(storage_.data()); }

  /// Sets all values (stage_bytes).
  void set(const S* values) {
    stage_bytes(data(), storage_.device(), values, count_ * index_t{sizeof(S)});
  }

  /// One value, after everything before it on the stream.
  S get(int i = 0) const {
    S value;
    Storage::copy_bytes(&value, Device::cpu, data() + i, storage_.device(), sizeof(S));
    return value;
  }

 private:
  Storage storage_;
  int count_;
};

}  // namespace flr
