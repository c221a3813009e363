// The options of a run from all that has a say in them.
#pragma once

#include "flr/core/error.hpp"
#include "run_options.hpp"

namespace program {

/// What a program's options are, beyond their defaults. O is derived from RunOptions.
template <class O>
struct OptionRules {
  const char* program;
  const char* description;
  Flags (*flags)(O&);
  const std::vector<AbsentFlag>& absent;
  /// Refuses several modes at once, or none.
  void (*check_modes)(const O&);
  /// Of a new run: sets what hangs on other flags or stands in a preset, unless it was chosen.
  void (*settle)(O&, const Given& chosen);
  void (*check)(const O&);
};

template <class O>
struct ResolvedOptions {
  O options;
  Given given;  ///< the flags that stood on the command line
};

/// The command line, over what the run's folder (or --config) says, over presets and defaults. A
/// run that goes on keeps what it was started with. Empty where --help was printed.
template <class O>
std::optional<ResolvedOptions<O>> resolve_options(int argc, char** argv,
                                                  const OptionRules<O>& rules) {
  using flr::check;
  O cli;
  const auto given =
      parse_flags(argc, argv, rules.program, rules.description, rules.flags(cli), rules.absent);
  if (!given) return {};
  rules.check_modes(cli);
  O options;
  options.out = cli.out, options.exp_name = cli.exp_name;
  Given chosen = *given;
  const std::filesystem::path stored = options.folder() / "config.yaml";
  if (!cli.train) {
    check(cli.config.empty(), "--config goes with --train true; other runs have their own");
    check(!cli.exp_name.empty(), "--exp_name: expected the name of a run, got none");
    check(std::filesystem::exists(stored), "there is no run {}: {} does not exist", cli.exp_name,
          stored.string());
    apply_config(flr::train::RunConfig::load(stored), rules.flags(options), stored.string());
    options.exp_name = cli.exp_name;  // the folder may have been renamed
  } else if (!cli.config.empty()) {
    const auto config = flr::train::RunConfig::load(cli.config);
    apply_config(config, rules.flags(options), cli.config);
    for (const auto& [key, value] : config.entries()) chosen.add(key);
  }
  apply_given(*given, rules.flags(cli), rules.flags(options), cli.train ? "" : cli.exp_name,
              cli.restart, stored);
  settle_precision(options, *given);
  if (cli.train) rules.settle(options, chosen);
  rules.check(options);
  return ResolvedOptions<O>{std::move(options), *given};
}

}  // namespace program
