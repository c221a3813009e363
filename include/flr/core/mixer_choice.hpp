// Whether mixers may use kernels of their own: FLR_MIXER=composition forbids it, for comparison.
#pragma once

#include <cstdlib>
#include <cstring>

namespace flr {

/// False with FLR_MIXER=composition in the environment; asked at every call, so that a test may
/// change it.
inline bool fused_mixers_allowed() {
  const char* text = std::getenv("FLR_MIXER");
  return !(text && std::strcmp(text, "composition") == 0);
}

}  // namespace flr
