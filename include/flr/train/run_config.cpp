#include "flr/train/run_config.hpp"

#include <algorithm>

#include "flr/data/file.hpp"
#include "flr/train/yaml_scalar.hpp"

namespace flr::train {

namespace {

bool is_key(std::string_view key) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !key.empty() && letter(key[0]) && std::all_of(key.begin(), key.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

template <class T>
const T& expect(const ConfigValue& value, std::string_view key, const char* type) {
  const T* found = std::get_if<T>(&value);
  check(found != nullptr, "[config] {}: expected {}; got {}", key, type, to_yaml(value));
  return *found;
}

}  // namespace

const ConfigValue* RunConfig::find(std::string_view key) const {
  for (const auto& entry : entries_)
    if (entry.first == key) return &entry.second;
  return nullptr;
}

void RunConfig::set(std::string key, ConfigValue value) {
  check(is_key(key), "[config] expected a key of letters, digits, '_', '-' and '.'; got '{}'", key);
  for (auto& entry : entries_)
    if (entry.first == key) {
      entry.second = std::move(value);
      return;
    }
  entries_.emplace_back(std::move(key), std::move(value));
}

const ConfigValue& RunConfig::at(std::string_view key) const {
  const ConfigValue* found = find(key);
  check(found != nullptr, "[config] expected the key '{}', which is missing", key);
  return *found;
}

template <>
bool RunConfig::get<bool>(std::string_view key) const {
  return expect<bool>(at(key), key, "true or false");
}
template <>
std::int64_t RunConfig::get<std::int64_t>(std::string_view key) const {
  return expect<std::int64_t>(at(key), key, "an integer");
}
template <>
double RunConfig::get<double>(std::string_view key) const {
  if (const auto* i = std::get_if<std::int64_t>(&at(key))) return static_cast<double>(*i);
  return expect<double>(at(key), key, "a number");
}
template <>
std::string RunConfig::get<std::string>(std::string_view key) const {
  return expect<std::string>(at(key), key, "text");
}

std::vector<std::string> RunConfig::unknown_keys(std::span<const std::string> known) const {
  std::vector<std::string> unknown;
  for (const auto& entry : entries_)
    if (std::find(known.begin(), known.end(), entry.first) == known.end())
      unknown.push_back(entry.first);
  return unknown;
}

std::string RunConfig::to_yaml() const {
  std::string out;
  for (const auto& [key, value] : entries_) out += key + ": " + train::to_yaml(value) + '\n';
  return out;
}

RunConfig RunConfig::parse(std::string_view text, const std::string& name) {
  RunConfig config;
  for (std::size_t start = 0, number = 1; start < text.size(); ++number) {
    const std::size_t newline = std::min(text.find('\n', start), text.size());
    std::string_view line = text.substr(start, newline - start);
    start = newline + 1;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const auto first = line.find_first_not_of(" \t");
    if (first == line.npos || line[first] == '#' || line == "---") continue;
    if (line == "...") break;
    const std::string where = fmt::format("[config] {}: line {}", name, number);
    const auto colon = line.find(':');
    check(first == 0 && colon != line.npos &&
              (colon + 1 == line.size() || line[colon + 1] == ' ' || line[colon + 1] == '\t'),
          "{}: expected 'key: value' without indentation; got '{}'", where, line.substr(0, 80));
    const std::string key(line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1));
    check(is_key(key), "{}: expected a key of letters, digits, '_', '-' and '.'; got '{}'", where,
          key.substr(0, 80));
    check(!config.has(key), "{}: the key '{}' stands there twice", where, key);
    config.entries_.emplace_back(key, detail::parse_yaml_scalar(line.substr(colon + 1), where));
  }
  return config;
}

RunConfig RunConfig::load(const std::filesystem::path& path) {
  return parse(data::read_text(path, 1u << 20), path.string());
}

void RunConfig::save(const std::filesystem::path& path) const {
  data::atomic_write(path, to_yaml());
}

}  // namespace flr::train
