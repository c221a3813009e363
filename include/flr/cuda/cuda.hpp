// The CUDA backend from the outside: nothing here needs a CUDA header.
#pragma once

#include "flr/core/runtime.hpp"

namespace flr::cuda {

/// Registers the backend. Linking flr::cuda does this before main; calling it again changes nothing.
/// Needs flr::cuda at link time.
void init();

/// Whether the backend is part of this program.
inline bool linked() { return flr::detail::cuda_runtime() != nullptr; }

/// Waits until everything asked for so far has run.
inline void synchronize() { flr::detail::require_cuda().synchronize(); }

/// The GPU's name, memory and compute capability in one line; an error says why there is none.
inline std::string describe() { return flr::detail::require_cuda().describe(); }

}  // namespace flr::cuda
