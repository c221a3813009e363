// Flags as the reference has them, `--name value`: parsing, the configuration file, what may change
// between runs. Programs keep one table of flags each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flr/train/run_config.hpp"

namespace program {

/// Whether config.yaml keeps a flag, and whether an evaluation, or a restart too, may change it.
enum class Keep : unsigned char { fixed, for_evaluation, free, unsaved };

using Field = std::variant<bool*, std::int64_t*, double*, std::string*, std::optional<double>*>;

/// One flag: `--name value`, listed by --help under its group.
struct Flag {
  const char* group;
  const char* name;
  Field field;
  const char* help;
  Keep keep = Keep::fixed;
};
using Flags = std::vector<Flag>;

/// A flag of the reference that this version knows by name only, and what it belongs to.
struct AbsentFlag {
  const char* name;
  const char* owner;
};

/// The names that stood on the command line, or were chosen otherwise.
class Given {
 public:
  Given() = default;
  explicit Given(std::vector<std::string> names) : names_(std::move(names)) {}
  bool operator()(std::string_view name) const;
  void add(const std::string& name) { names_.push_back(name); }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
};

/// Writes the command line's values into the flags' fields. Empty where --help was asked for and
/// has been printed. Throws flr::Error with one sentence.
std::optional<Given> parse_flags(int argc, char** argv, const char* program,
                                 const char* description, const Flags& flags,
                                 const std::vector<AbsentFlag>& absent = {});

/// The part of the flags that config.yaml keeps, and back.
flr::train::RunConfig to_config(const Flags& flags);
void apply_config(const flr::train::RunConfig& config, const Flags& flags,
                  const std::string& origin);

/// Copies the given ones of a table `from` to the same table of other options. Where `run` says
/// which run goes on, or with `trains` false is only looked at, another value for a flag that is fixed
/// is refused; `config` is where it stands.
void apply_given(const Given& given, const Flags& from, const Flags& to,
                 const std::string& run = {}, bool trains = true,
                 const std::filesystem::path& config = {});

}  // namespace program
