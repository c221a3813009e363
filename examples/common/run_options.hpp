// What training programs are asked in the same words: run, training, optimiser, schedule, machine.
#pragma once

#include "flags.hpp"

namespace program {

struct RunOptions {
  // Exactly one of these, or another mode of a program's own.
  bool train = false, evaluate = false, restart = false;
  std::string exp_name = "exp", out = "out", load_weights_path, config;
  std::int64_t seed = 0;

  std::int64_t epochs = 100, steps = 0, batch_size = 1, grad_accumulation_steps = 1;
  double clip_grad_norm = 1;
  bool ema = true;
  double ema_decay = 0.999;
  std::int64_t stats_every = 0, checkpoint_every = 0;

  std::string optimizer = "adamw";
  double learning_rate = 1e-3, weight_decay = 0, opt_beta1 = 0.9, opt_beta2 = 0.999, opt_eps = 1e-8;
  std::optional<double> momentum, muon_adam_lr;
  bool nesterov = false, decay_latents = true;

  std::string schedule = "OneCycleLR";
  double one_cycle_pct_start = 0.1, one_cycle_div_factor = 1e4, one_cycle_final_div_factor = 1e4;
  bool one_cycle_three_phase = false, one_cycle_cycle_momentum = true;
  double one_cycle_base_momentum = 0.85, one_cycle_max_momentum = 0.95;
  std::string one_cycle_anneal_strategy = "cos";
  std::optional<double> one_cycle_override_min_lr;
  std::int64_t warmup_steps = 0, restart_period = 0, restart_factor = 1;
  double min_learning_rate = 0;

  std::string device = "cpu", precision = "fp32";
  std::int64_t threads = 0;
  bool mixed_precision = false, legacy = false, no_graph = false;
  std::string weights = "raw";
  bool compile_model = true, static_graph = true, use_triton = false;
  std::int64_t num_workers = 0;
  std::string prefetch_factor;

  /// Whether activations are in bf16; --mixed_precision is the reference's name for it.
  bool bf16() const { return precision == "bf16" || mixed_precision; }
  std::filesystem::path folder() const { return std::filesystem::path(out) / exp_name; }
};

inline constexpr const char* ignored_group = "Accepted and ignored";

// The flags of these options, each call one part of a program's table.
void add_run_flags(Flags& flags, RunOptions& options, const char* group);
void add_training_flags(Flags& flags, RunOptions& options);
void add_optimizer_flags(Flags& flags, RunOptions& options);
void add_schedule_flags(Flags& flags, RunOptions& options);
void add_machine_flags(Flags& flags, RunOptions& options);
void add_ignored_flags(Flags& flags, RunOptions& options);

/// What was asked for under one of the two names of a precision is not overruled by what stands under
/// the other in a file or a default.
void settle_precision(RunOptions& options, const Given& given);
/// Refuses values outside their range.
void check_run_options(const RunOptions& options);
/// Sets what hangs on other flags, unless it is in `given`.
void settle_run_options(RunOptions& options, const Given& given);
/// Says which of the given flags are ignored or have no effect.
void print_run_notes(const RunOptions& options, const Flags& flags, const Given& given);
/// `note: --flag has no effect: why`, if the flag was given and is useless.
void note_useless(const Given& given, std::string_view flag, bool useless, const std::string& why);

}  // namespace program
