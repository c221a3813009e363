// What a run was started with: an ordered list of keys and plain values, kept as `config.yaml`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "flr/core/error.hpp"

namespace flr::train {

/// null, true or false, an integer, a number, or text.
using ConfigValue = std::variant<std::monostate, bool, std::int64_t, double, std::string>;

/// The file is flat YAML: `key: value` lines, comments, quoted text; lists, nested maps and the
/// rest of YAML are refused with the line's number. (That subset is smaller than the interface of a
/// library that reads all of YAML, and it is all that the reference's files hold.) Every value
/// reads back as it was, doubles bit for bit, NaNs as NaN; PyYAML reads the file to the same
/// values.
class RunConfig {
 public:
  /// Sets a key, at its place if it is there, otherwise at the end. Keys consist of letters,
  /// digits,
  /// `_`, `-` and `.`, and begin with a letter or `_`.
  void set(std::string key, ConfigValue value);
  // Text literals would otherwise become bool.
  void set(std::string key, const char* text) {
    set(std::move(key), ConfigValue(std::string(text)));
  }

  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool is_null(std::string_view key) const {
    return std::holds_alternative<std::monostate>(at(key));
  }
  /// The value, or an error that names the missing key.
  const ConfigValue& at(std::string_view key) const;

  /// The value as bool, std::int64_t, double or std::string. An integer serves as double; any other
  /// type is an error that says what stands there.
  template <class T>
  T get(std::string_view key) const;
  /// The same, or `otherwise` where the key is missing or null.
  template <class T>
  T get_or(std::string_view key, T otherwise) const {
    return has(key) && !is_null(key) ? get<T>(key) : otherwise;
  }

  const std::vector<std::pair<std::string, ConfigValue>>& entries() const { return entries_; }
  /// The keys that are not among `known`, in order.
  std::vector<std::string> unknown_keys(std::span<const std::string> known) const;

  std::string to_yaml() const;
  /// Reads YAML text; `name` stands in the messages.
  static RunConfig parse(std::string_view text, const std::string& name = "config");
  static RunConfig load(const std::filesystem::path& path);
  /// Written in one piece.
  void save(const std::filesystem::path& path) const;

  bool operator==(const RunConfig&) const = default;

 private:
  const ConfigValue* find(std::string_view key) const;

  std::vector<std::pair<std::string, ConfigValue>> entries_;
};

/// One value as it stands in the file.
std::string to_yaml(const ConfigValue& value);

template <>
bool RunConfig::get<bool>(std::string_view key) const;
template <>
std::int64_t RunConfig::get<std::int64_t>(std::string_view key) const;
template <>
double RunConfig::get<double>(std::string_view key) const;
template <>
std::string RunConfig::get<std::string>(std::string_view key) const;

}  // namespace flr::train
