// From the command line to options.
#include "options.hpp"

#include <algorithm>
#include <CLI/CLI.hpp>

#include "flr/core/error.hpp"

namespace pdebench {

using flr::check;
using flr::fail;

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

void add_absent_flags(CLI::App& app) {
  for (const AbsentFlag& flag : absent_flags()) {
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
std::vector<std::string> words_of(int argc, char** argv, const std::vector<Flag>& flags) {
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

// Flags as parsed from the command line, and the names of those that stood there.
struct CommandLine {
  Options options;
  std::vector<std::string> given;
};

std::optional<CommandLine> parse(int argc, char** argv) {
  CLI::App app{
      "Trains attention models on solutions of partial differential equations, and evaluates "
      "them.\n"
      "  pdebench --train true --dataset darcy --exp_name mine --model_type flare --epochs 100\n"
      "  pdebench --restart true --exp_name mine\n"
      "  pdebench --evaluate true --exp_name mine",
      "pdebench"};
  app.get_formatter()->column_width(34);
  CommandLine line;
  std::vector<std::pair<std::string, CLI::Option*>> registered;
  for (const Flag& flag : flags_of(line.options))
    registered.emplace_back(flag.name, add_flag(app, flag));
  add_absent_flags(app);
  try {
    app.parse(words_of(argc, argv, flags_of(line.options)));
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return {};
  } catch (const CLI::ParseError& error) {
    fail("{} (--help lists the flags)", error.what());
  }
  for (const auto& [name, option] : registered)
    if (option->count() > 0) line.given.push_back(name);
  return line;
}

void copy_field(const Field& from, const Field& to) {
  std::visit([&](auto* source) { *std::get<decltype(source)>(to) = *source; }, from);
}

// The flags of the command line over a stored configuration. A run that goes on keeps what it was
// started with: another value for such a flag is refused rather than mixed in.
void apply_given(CommandLine& line, Options& options, bool stored) {
  const std::vector<Flag> from = flags_of(line.options), to = flags_of(options);
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::string name = from[i].name;
    if (std::find(line.given.begin(), line.given.end(), name) == line.given.end()) continue;
    const bool same = std::visit([&](auto* a) { return *a == *std::get<decltype(a)>(to[i].field); },
                                 from[i].field);
    check(!stored || same || to[i].keep != Keep::fixed,
          "--{} cannot be changed after the start of a run; {} says what {} was started with", name,
          (options.folder() / "config.yaml").string(), options.exp_name);
    copy_field(from[i].field, to[i].field);
  }
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv) {
  std::optional<CommandLine> line = parse(argc, argv);
  if (!line) return {};
  Options& cli = line->options;
  const int modes = cli.train + cli.evaluate + cli.restart + !cli.predict.empty();
  check(modes == 1,
        "expected exactly one of --train true, --evaluate true, --restart true and --predict "
        "FILE.npz; got {}",
        modes == 0 ? "none" : "several");

  Options options;
  options.out = cli.out, options.exp_name = cli.exp_name;
  std::vector<std::string> chosen = line->given;
  if (!cli.train) {
    check(cli.config.empty(), "--config goes with --train true; other runs have their own");
    const auto file = options.folder() / "config.yaml";
    check(std::filesystem::exists(file), "there is no run {}: {} does not exist", cli.exp_name,
          file.string());
    apply_config(flr::train::RunConfig::load(file), options, file.string());
    options.exp_name = cli.exp_name;  // the folder may have been renamed
  } else if (!cli.config.empty()) {
    const auto config = flr::train::RunConfig::load(cli.config);
    apply_config(config, options, cli.config);
    for (const auto& [key, value] : config.entries()) chosen.push_back(key);
    if (config.has("use_defaults")) options.use_defaults = false;  // applied when it was written
  }
  apply_given(*line, options, !cli.train);
  if (cli.train && options.use_defaults) apply_defaults(options, chosen);
  if (cli.train) settle_options(options, chosen);
  if (options.timing_only) options.batch_size = 1, options.epochs = 2, options.steps = 0;
  check_options(options);
  print_notes(options, line->given);
  print_effects(options, line->given);
  return options;
}

}  // namespace pdebench
