// FLR_EXPLAIN=1: which kernel ran, and why others did not, once for each operation and shape.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

namespace flr {

/// Whether the environment has FLR_EXPLAIN=1.
inline bool explaining() {
  static const bool wanted = [] {
    const char* text = std::getenv("FLR_EXPLAIN");
    return text && std::strcmp(text, "1") == 0;
  }();
  return wanted;
}

namespace detail {
/// Prints a line on stderr unless it has been printed before.
inline void explain_line(const std::string& text) {
  static std::mutex* mutex = new std::mutex;  // may be asked for by destructors of static objects
  static auto* said = new std::set<std::string>;
  const std::lock_guard lock(*mutex);
  if (said->insert(text).second) fmt::print(stderr, "{}\n", text);
}
}  // namespace detail

/// Prints `[operation] shape: kernel; why others were refused` once. `line` returns the text and is
/// called only when somebody wants to know. Not for the CPU table, which holds no state of its own.
template <class F>
void explain(F&& line) {
  if (explaining()) [[unlikely]]
    detail::explain_line(line());
}

}  // namespace flr
