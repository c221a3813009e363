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

namespace detail {
/// Out of the way of the code that checks: it runs once, if at all.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_error(fmt::string_view format,
                                                               fmt::format_args args) {
  throw Error(fmt::vformat(format, args));
}
}  // namespace detail

/// Throws flr::Error with a formatted sentence.
template <class... Args>
[[noreturn, gnu::cold]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  detail::throw_error(format, fmt::make_format_args(args...));
}

/// Throws flr::Error with a formatted sentence unless `condition` holds. The arguments are only
/// formatted on failure, but they are evaluated: keep them cheap.
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]] detail::throw_error(format, fmt::make_format_args(args...));
}

}  // namespace flr
