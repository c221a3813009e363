// The version of the library. CMake reads it from here, so there is one place to change.
#pragma once

#define FLR_VERSION_MAJOR 0
#define FLR_VERSION_MINOR 1
#define FLR_VERSION_PATCH 0

namespace flr {

/// "major.minor.patch".
inline constexpr const char* version = "0.1.0";

}  // namespace flr
