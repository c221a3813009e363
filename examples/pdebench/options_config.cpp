// Options as config.yaml.
#include <algorithm>

#include "options.hpp"

namespace pdebench {

using flr::train::ConfigValue;
using flr::train::RunConfig;

RunConfig to_config(Options& options) {
  RunConfig config;
  for (const Flag& flag : flags_of(options)) {
    if (flag.keep == Keep::unsaved) continue;
    const auto set = [&](const auto* field) {
      using T = std::remove_cvref_t<decltype(*field)>;
      if constexpr (std::is_same_v<T, std::optional<double>>) {
        config.set(flag.name, *field ? ConfigValue(**field) : ConfigValue());
      } else if constexpr (std::is_same_v<T, std::string>) {
        config.set(flag.name, field->empty() ? ConfigValue() : ConfigValue(*field));
      } else {
        config.set(flag.name, ConfigValue(*field));
      }
    };
    std::visit(set, flag.field);
  }
  return config;
}

void apply_config(const RunConfig& config, Options& options, const std::string& origin) {
  const std::vector<Flag> flags = flags_of(options);
  std::vector<std::string> known;
  for (const Flag& flag : flags) known.emplace_back(flag.name);
  const auto unknown = config.unknown_keys(known);
  flr::check(unknown.empty(), "{}: there is no flag '{}'", origin,
             unknown.empty() ? "" : unknown[0]);
  for (const Flag& flag : flags) {
    if (!config.has(flag.name)) continue;
    const bool null = config.is_null(flag.name);
    const auto get = [&](auto* field) {
      using T = std::remove_pointer_t<decltype(field)>;
      if constexpr (std::is_same_v<T, std::optional<double>>) {
        *field = null ? std::optional<double>() : config.get<double>(flag.name);
      } else if constexpr (std::is_same_v<T, std::string>) {
        *field = null ? std::string() : config.get<std::string>(flag.name);
      } else {
        *field = config.get<T>(flag.name);
      }
    };
    std::visit(get, flag.field);
  }
}

}  // namespace pdebench
