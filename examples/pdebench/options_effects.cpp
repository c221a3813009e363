// Flags that hang on other flags: what one changes in another, and which have no effect.
#include <fmt/core.h>

#include <algorithm>

#include "options.hpp"

namespace pdebench {

namespace {

class Given {
 public:
  explicit Given(const std::vector<std::string>& names) : names_(names) {}
  bool operator()(std::string_view name) const {
    return std::find(names_.begin(), names_.end(), name) != names_.end();
  }

 private:
  const std::vector<std::string>& names_;
};

bool starts_with(std::string_view text, std::string_view start) { return text.starts_with(start); }

}  // namespace

void settle_options(Options& o, const std::vector<std::string>& names) {
  const Given given(names);
  if (given("one_cycle_cycle_momentum")) return;
  // A momentum that was asked for is not cycled away; and Muon is not cycled, as in the reference.
  if (o.momentum || o.optimizer == "muon") o.one_cycle_cycle_momentum = false;
}

void print_effects(const Options& o, const std::vector<std::string>& names) {
  const Given given(names);
  const auto note = [&](std::string_view flag, bool useless, const std::string& why) {
    if (useless && given(flag)) fmt::print("note: --{} has no effect: {}\n", flag, why);
  };
  const std::string optimizer = "--optimizer is " + o.optimizer;
  const bool adam = o.optimizer == "adamw" || o.optimizer == "adam";
  const bool sgd = o.optimizer == "sgd", muon = o.optimizer == "muon", lion = o.optimizer == "lion";
  note("momentum", !sgd && !muon, optimizer);
  note("muon_adam_lr", !muon, optimizer);
  note("opt_beta1", sgd, optimizer + ", which has --momentum");
  note("opt_beta2", sgd, optimizer);
  note("opt_eps", sgd || lion, optimizer);
  note("legacy", !lion && !o.spectra, "it concerns --optimizer lion and --spectra");
  const bool cycles = o.schedule == "OneCycleLR" && o.one_cycle_cycle_momentum;
  note("opt_beta1", (adam || lion) && cycles,
       "the schedule moves it (--one_cycle_cycle_momentum false leaves it)");
  note("momentum", (sgd || muon) && cycles, "--one_cycle_cycle_momentum true moves it");

  const std::string schedule = "--schedule is " + o.schedule;
  for (const std::string& name : names)
    note(name, starts_with(name, "one_cycle_") && o.schedule != "OneCycleLR", schedule);
  const bool restarts = o.schedule == "CosineAnnealingWarmRestarts";
  note("restart_period", !restarts, schedule);
  note("restart_factor", !restarts, schedule);
  note("min_learning_rate", !restarts && o.schedule != "CosineAnnealingLR", schedule);
  for (const char* name : {"one_cycle_base_momentum", "one_cycle_max_momentum"})
    note(name, o.schedule == "OneCycleLR" && !o.one_cycle_cycle_momentum,
         "the momentum is not cycled");

  const bool npz = o.dataset.ends_with(".npz"), darcy = starts_with(o.dataset, "darcy");
  for (const char* name : {"data_x", "data_y", "data_split"})
    note(name, !npz && o.predict.empty(), "it concerns data sets of your own, as .npz");
  for (const char* name : {"darcy_stride", "darcy_coordinates", "darcy_true_spacing"})
    note(name, !darcy, "--dataset is " + o.dataset);
  note("data_root", npz, "--dataset is a path");

  note("ema_decay", !o.ema, "--ema is false");
  note("ema", o.ema && o.ema_decay == 0, "--ema_decay is 0");
  note("epochs", o.steps > 0 && !o.timing_only, "--steps counts");
  for (const char* name : {"epochs", "steps", "batch_size"})
    note(name, o.timing_only, "--timing_only means 2 epochs of batch size 1");
}

}  // namespace pdebench
