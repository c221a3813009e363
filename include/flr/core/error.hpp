// Errors: one exception type, one sentence that starts with the operation and shows what was found.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace flr {

/// Every failure of the library. The text is one sentence: `[operation] what was expected; got …`.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws flr::Error with a formatted sentence.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws flr::Error with a formatted sentence unless `condition` holds. The arguments are only
/// formatted on failure, but they are evaluated: keep them cheap.
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace flr
