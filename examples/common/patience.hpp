// How long an idle OpenMP thread spins before it sleeps.
#pragma once

#include <unistd.h>

#include <cstdlib>

namespace program {

/// To be called first in main; starts the program anew where the environment says nothing.
///
/// libgomp's default of milliseconds is harmless on an idle machine and ruinous on a busy one: with
/// two threads on two cores that others used too, a step took two hundred times as long as with
/// threads that sleep. A thousand turns, some tens of microseconds, bridge the gaps within a step.
/// libgomp reads its environment when it is loaded, before main: hence the new start.
inline void choose_patience(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  if (::setenv("GOMP_SPINCOUNT", "1000", 1) == 0) ::execv("/proc/self/exe", argv);
  // Where that is not possible, the run is as right, only perhaps slower.
}

}  // namespace program
