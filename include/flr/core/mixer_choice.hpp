// Whether a mixer takes a kernel of its own or its composition.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>

#include "flr/core/explain.hpp"
#include "flr/core/scalar.hpp"

namespace flr {

/// False with FLR_MIXER=composition in the environment, for comparison; asked at every call, so
/// that a test may change it.
inline bool fused_mixers_allowed() {
  const char* text = std::getenv("FLR_MIXER");
  return !(text && std::strcmp(text, "composition") == 0);
}

/// Whether a table's `kernel`, null where there is none, takes a call; `supports` null: every call.
/// FLR_EXPLAIN says so, after what `describe` gives of the call.
template <class T, class Kernel, class P, class Describe>
bool takes_mixer_kernel(const char* operation, Kernel* kernel,
                        bool (*supports)(const P&, std::string*), const P& p, Describe describe) {
  std::string why = "this backend has no kernel for it";
  const bool allowed = fused_mixers_allowed();
  if (!allowed) why = "FLR_MIXER asks for it";
  const bool taken = allowed && kernel && (!supports || supports(p, &why));
  explain([&] {
    return fmt::format("[{}] {} {}: {}", operation, describe(), name_of(dtype_of<T>),
                       taken ? "one operation" : "composition; " + why);
  });
  return taken;
}

}  // namespace flr
