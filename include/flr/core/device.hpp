// Where a tensor lives.
#pragma once

#include <string>

namespace flr {

enum class DeviceType : unsigned char { cpu, cuda };

/// A processor and, where there are several, its number: Device::cpu, Device::cuda, {cuda, 1}.
struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  static const Device cpu, cuda;

  bool operator==(const Device&) const = default;
  bool is_cpu() const { return type == DeviceType::cpu; }
  std::string str() const {
    return type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(index);
  }
};

inline constexpr Device Device::cpu{DeviceType::cpu, 0};
inline constexpr Device Device::cuda{DeviceType::cuda, 0};

}  // namespace flr
