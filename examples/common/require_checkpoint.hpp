// The checkpoint that a run is looked at by.
#pragma once

#include "flr/core/error.hpp"
#include "flr/train/checkpoint_folder.hpp"
#include "run_options.hpp"

namespace program {

/// A run's newest checkpoint; refuses a run without one.
inline std::filesystem::path require_checkpoint(const RunOptions& o) {
  const auto latest = flr::train::latest_checkpoint(o.folder());
  flr::check(latest.has_value(), "{} has no checkpoint yet; --restart true goes on with the run",
             o.folder().string());
  return *latest;
}

}  // namespace program
