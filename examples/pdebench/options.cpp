// From the command line to options.
#include "options.hpp"

#include "resolve_options.hpp"

namespace pdebench {

namespace {

void check_modes(const Options& o) {
  const int modes = o.train + o.evaluate + o.restart + !o.predict.empty();
  flr::check(modes == 1,
             "expected exactly one of --train true, --evaluate true, --restart true and --predict "
             "FILE.npz; got {}",
             modes == 0 ? "none" : "several");
}

void settle(Options& o, const Given& chosen) {
  if (o.use_defaults) apply_defaults(o, chosen);
  program::settle_run_options(o, chosen);
  if (o.timing_only) o.batch_size = 1, o.epochs = 2, o.steps = 0;
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv) {
  const program::OptionRules<Options> rules{
      "pdebench",
      "Trains attention models on solutions of partial differential equations, and evaluates "
      "them.\n"
      "  pdebench --train true --dataset darcy --exp_name mine --model_type flare --epochs 100\n"
      "  pdebench --restart true --exp_name mine\n"
      "  pdebench --evaluate true --exp_name mine",
      flags_of,
      absent_flags(),
      check_modes,
      settle,
      check_options};
  auto resolved = program::resolve_options(argc, argv, rules);
  if (!resolved) return {};
  print_notes(resolved->options, resolved->given);
  return std::move(resolved->options);
}

}  // namespace pdebench
