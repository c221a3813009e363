// What values make sense, and which flags have no effect beside others.
#include <fmt/core.h>

#include "run_options.hpp"
#include "values.hpp"

namespace program {

using flr::check;

namespace {

void check_training(const RunOptions& o) {
  at_least("seed", o.seed, 0, std::int64_t{1} << 62);
  at_least("epochs", o.epochs, o.steps > 0 ? 0 : 1);
  at_least("steps", o.steps, 0, std::int64_t{1} << 40);
  at_least("batch_size", o.batch_size, 1);
  at_least("grad_accumulation_steps", o.grad_accumulation_steps, 1);
  not_negative("clip_grad_norm", o.clip_grad_norm);
  between("ema_decay", o.ema_decay, 0, 0.999999999);
  at_least("stats_every", o.stats_every, 0, std::int64_t{1} << 40);
  at_least("checkpoint_every", o.checkpoint_every, 0, std::int64_t{1} << 40);

  one_of("optimizer", o.optimizer, {"adamw", "adam", "sgd", "lion", "muon"});
  positive("learning_rate", o.learning_rate);
  not_negative("weight_decay", o.weight_decay);
  between("opt_beta1", o.opt_beta1, 0, 0.999999999);
  between("opt_beta2", o.opt_beta2, 0, 0.999999999);
  positive("opt_eps", o.opt_eps);
  if (o.momentum) between("momentum", *o.momentum, 0, 0.999999999);
  if (o.muon_adam_lr) positive("muon_adam_lr", *o.muon_adam_lr);
  check(!o.nesterov || o.optimizer == "sgd", "--nesterov goes with --optimizer sgd");
}

void check_schedule(const RunOptions& o) {
  one_of("schedule", o.schedule,
         {"OneCycleLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ConstantLR"});
  between("one_cycle_pct_start", o.one_cycle_pct_start, 0, 1);
  positive("one_cycle_div_factor", o.one_cycle_div_factor);
  positive("one_cycle_final_div_factor", o.one_cycle_final_div_factor);
  between("one_cycle_base_momentum", o.one_cycle_base_momentum, 0, 0.999999999);
  between("one_cycle_max_momentum", o.one_cycle_max_momentum, 0, 0.999999999);
  one_of("one_cycle_anneal_strategy", o.one_cycle_anneal_strategy, {"cos", "linear"});
  if (o.one_cycle_override_min_lr)
    not_negative("one_cycle_override_min_lr", *o.one_cycle_override_min_lr);
  at_least("warmup_steps", o.warmup_steps, 0);
  not_negative("min_learning_rate", o.min_learning_rate);
  at_least("restart_period", o.restart_period, 0);
  at_least("restart_factor", o.restart_factor, 1);
}

void check_machine(const RunOptions& o) {
  one_of("device", o.device, {"cpu", "cuda"});
  one_of("precision", o.precision, {"fp32", "tf32", "bf16"});
  at_least("threads", o.threads, 0, 4096);
  one_of("weights", o.weights, {"raw", "ema"});
  check(o.precision != "tf32" || o.device == "cuda",
        "--precision tf32 needs --device cuda; the CPU computes in fp32 or bf16");
  check(o.precision != "tf32" || !o.mixed_precision,
        "--precision tf32 and --mixed_precision true (bf16) exclude each other");
}

}  // namespace

void check_run_options(const RunOptions& options) {
  check_training(options);
  check_schedule(options);
  check_machine(options);
}

void settle_precision(RunOptions& o, const Given& given) {
  if (given("precision") && !given("mixed_precision")) o.mixed_precision = false;
  const bool turned_off = given("mixed_precision") && !o.mixed_precision && !given("precision");
  if (turned_off && o.precision == "bf16") o.precision = "fp32";
}

void settle_run_options(RunOptions& o, const Given& given) {
  if (given("one_cycle_cycle_momentum")) return;
  // A momentum that was asked for is not cycled away; and Muon is not cycled, as in the reference.
  if (o.momentum || o.optimizer == "muon") o.one_cycle_cycle_momentum = false;
}

void note_useless(const Given& given, std::string_view flag, bool useless, const std::string& why) {
  if (useless && given(flag)) fmt::print("note: --{} has no effect: {}\n", flag, why);
}

void print_run_notes(const RunOptions& o, const Flags& flags, const Given& given) {
  for (const Flag& flag : flags)
    if (given(flag.name) && std::string_view(flag.group) == ignored_group)
      fmt::print("note: --{} is ignored: {}\n", flag.name, flag.help);
  const auto note = [&](std::string_view flag, bool useless, const std::string& why) {
    note_useless(given, flag, useless, why);
  };
  const std::string optimizer = "--optimizer is " + o.optimizer;
  const bool adam = o.optimizer == "adamw" || o.optimizer == "adam";
  const bool sgd = o.optimizer == "sgd", muon = o.optimizer == "muon", lion = o.optimizer == "lion";
  note("momentum", !sgd && !muon, optimizer);
  note("muon_adam_lr", !muon, optimizer);
  note("opt_beta1", sgd, optimizer + ", which has --momentum");
  note("opt_beta2", sgd, optimizer);
  note("opt_eps", sgd || lion, optimizer);
  const bool cycles = o.schedule == "OneCycleLR" && o.one_cycle_cycle_momentum;
  note("opt_beta1", (adam || lion) && cycles,
       "the schedule moves it (--one_cycle_cycle_momentum false leaves it)");
  note("momentum", (sgd || muon) && cycles, "--one_cycle_cycle_momentum true moves it");

  const std::string schedule = "--schedule is " + o.schedule;
  for (const std::string& name : given.names())
    note(name, name.starts_with("one_cycle_") && o.schedule != "OneCycleLR", schedule);
  const bool restarts = o.schedule == "CosineAnnealingWarmRestarts";
  note("restart_period", !restarts, schedule);
  note("restart_factor", !restarts, schedule);
  note("min_learning_rate", !restarts && o.schedule != "CosineAnnealingLR", schedule);
  for (const char* name : {"one_cycle_base_momentum", "one_cycle_max_momentum"})
    note(name, o.schedule == "OneCycleLR" && !o.one_cycle_cycle_momentum,
         "the momentum is not cycled");

  note("ema_decay", !o.ema, "--ema is false");
  note("ema", o.ema && o.ema_decay == 0, "--ema_decay is 0");
}

}  // namespace program
