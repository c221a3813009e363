// Where a tensor lives.
#pragma once

#include <string>

namespace flr {

enum class DeviceType : unsigned char { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  bool is_cpu() const { return type == DeviceType::cpu; }
  std::string str() const {
    return type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(index);
  }
};

inline constexpr Device cpu{DeviceType::cpu, 0};
inline constexpr Device cuda{DeviceType::cuda, 0};

}  // namespace flr
