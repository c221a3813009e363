// From the command line to fields, and from fields to config.yaml and back.
#include "flags.hpp"

#include <algorithm>
#include <CLI/CLI.hpp>

#include "flr/core/error.hpp"

namespace program {

using flr::check;
using flr::fail;
using flr::train::ConfigValue;
using flr::train::RunConfig;

namespace {

bool is_none(const std::string& text) {
  return text == "None" || text == "none" || text == "null";
}

bool parse_bool(const std::string& flag, const std::string& text) {
  for (const char* yes : {"true", "True", "yes", "on", "1"})
    if (text == yes) return true;
  for (const char* no : {"false", "False", "no", "off", "0"})
    if (text == no) return false;
  fail("{}: expected true or false; got '{}'", flag, text);
}

CLI::Option* add_flag(CLI::App& app, const Flag& flag) {
  const std::string name = std::string("--") + flag.name;
  const auto add = [&](auto* field) -> CLI::Option* {
    using T = std::remove_pointer_t<decltype(field)>;
    if constexpr (std::is_same_v<T, bool>) {
      const auto set = [field, name](const std::string& v) { *field = parse_bool(name, v); };
      return app.add_option_function<std::string>(name, set, flag.help)
          ->type_name("BOOL")
          ->default_str(*field ? "true" : "false");
    } else if constexpr (std::is_same_v<T, std::string>) {
      const auto set = [field](const std::string& v) { *field = is_none(v) ? std::string() : v; };
      return app.add_option_function<std::string>(name, set, flag.help)->default_str(*field);
    } else if constexpr (std::is_same_v<T, std::optional<double>>) {
      const auto set = [field, name](const std::string& v) {
        double number = 0;
        if (is_none(v)) return field->reset();
        if (!CLI::detail::lexical_cast(v, number)) throw CLI::ConversionError(v, name);
        *field = number;
      };
      return app.add_option_function<std::string>(name, set, flag.help)->type_name("FLOAT");
    } else {
      return app.add_option(name, *field, flag.help)->capture_default_str();
    }
  };
  return std::visit(add, flag.field)
      ->group(flag.group)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void add_absent_flags(CLI::App& app, const std::vector<AbsentFlag>& absent) {
  for (const AbsentFlag& flag : absent) {
    const auto refuse = [flag](const std::string&) {
      fail("--{} belongs to {}, which is not part of this version", flag.name, flag.owner);
    };
    app.add_option_function<std::string>(std::string("--") + flag.name, refuse)
        ->expected(0, 1)
        ->group("");  // not in --help
  }
}

// The reference writes `--train true`; a bare `--train` means the same. CLI11 wants the words last
// first.
std::vector<std::string> words_of(int argc, char** argv, const Flags& flags) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    words.push_back(word);
    const bool bare = i + 1 == argc || std::string(argv[i + 1]).starts_with("--");
    for (const Flag& flag : flags)
      if (bare && std::holds_alternative<bool*>(flag.field) &&
          word == std::string("--") + flag.name)
        words.push_back("true");
  }
  std::reverse(words.begin(), words.end());
  return words;
}

}  // namespace

bool Given::operator()(std::string_view name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

std::optional<Given> parse_flags(int argc, char** argv, const char* program,
                                 const char* description, const Flags& flags,
                                 const std::vector<AbsentFlag>& absent) {
  CLI::App app{description, program};
  app.get_formatter()->column_width(34);
  std::vector<std::pair<std::string, CLI::Option*>> registered;
  for (const Flag& flag : flags) registered.emplace_back(flag.name, add_flag(app, flag));
  add_absent_flags(app, absent);
  try {
    app.parse(words_of(argc, argv, flags));
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return {};
  } catch (const CLI::ParseError& error) {
    fail("{} (--help lists the flags)", error.what());
  }
  Given given;
  for (const auto& [name, option] : registered)
    if (option->count() > 0) given.add(name);
  return given;
}

RunConfig to_config(const Flags& flags) {
  RunConfig config;
  for (const Flag& flag : flags) {
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

void apply_config(const RunConfig& config, const Flags& flags, const std::string& origin) {
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

void apply_given(const Given& given, const Flags& from, const Flags& to, const std::string& run,
                 bool trains, const std::filesystem::path& config) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (!given(from[i].name)) continue;
    const auto copy = [&](auto* source) {
      auto* target = std::get<decltype(source)>(to[i].field);
      const bool fixed = to[i].keep == Keep::fixed || (trains && to[i].keep == Keep::for_evaluation);
      check(run.empty() || *source == *target || !fixed,
            "--{} cannot be changed after the start of a run; {} says what {} was started with",
            from[i].name, config.string(), run);
      *target = *source;
    };
    std::visit(copy, from[i].field);
  }
}

}  // namespace program
