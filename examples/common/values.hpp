// Refusals of values, each one sentence that names the flag.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "flr/core/error.hpp"

namespace program {

using Names = std::initializer_list<std::string_view>;

inline bool among(const std::string& value, Names names) {
  return std::find(names.begin(), names.end(), value) != names.end();
}

inline void one_of(const char* flag, const std::string& value, Names names) {
  flr::check(among(value, names), "--{}: expected one of {}; got '{}'", flag,
             fmt::join(names, ", "), value);
}

inline void at_least(const char* flag, std::int64_t value, std::int64_t least,
                     std::int64_t most = 1 << 30) {
  flr::check(value >= least && value <= most, "--{}: expected an integer from {} to {}; got {}",
             flag, least, most, value);
}

inline void between(const char* flag, double value, double low, double high) {
  flr::check(value >= low && value <= high, "--{}: expected a number from {:g} to {:g}; got {:g}",
             flag, low, high, value);
}

inline void positive(const char* flag, double value) {
  flr::check(value > 0 && std::isfinite(value), "--{}: expected a positive number; got {:g}", flag,
             value);
}

inline void not_negative(const char* flag, double value) {
  flr::check(value >= 0 && std::isfinite(value), "--{}: expected a number of at least 0; got {:g}",
             flag, value);
}

/// A ratio that makes a hidden layer of at least one channel.
inline void hidden_ratio(const char* flag, double ratio, std::int64_t channels) {
  flr::check(std::isfinite(ratio) && ratio * static_cast<double>(channels) >= 1 && ratio <= 1024,
             "--{}: expected a hidden width of at least 1 from {} channels; got a ratio of {:g}",
             flag, channels, ratio);
}

}  // namespace program
