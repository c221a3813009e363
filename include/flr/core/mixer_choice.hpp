// Whether mixers may use kernels of their own: FLR_MIXER=composition forbids it, for comparison.
#pragma once

#include <cstdlib>
#include <cstring>

namespace flr {

inline bool fused_mixers_allowed() {
  static const bool allowed = [] {
    const char* text = std::getenv("FLR_MIXER");
    return !text || std::strcmp(text, "composition") != 0;
  }();
  return allowed;
}

}  // namespace flr
