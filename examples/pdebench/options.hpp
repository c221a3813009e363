// What a run of pdebench is asked to do: the reference's flags and defaults, and some of our own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "flr/train/run_config.hpp"

namespace pdebench {

struct Options {
  // Exactly one of these four.
  bool train = false, evaluate = false, restart = false;
  std::string predict;

  std::string exp_name = "exp", out = "out/pdebench", load_weights_path, config;
  std::int64_t seed = 0;

  std::string dataset, data_root = "data", data_x = "x", data_y = "y", data_split;
  bool data_normalize_x = false;
  std::int64_t data_dims = 0, train_samples = 0, test_samples = 0;
  std::int64_t darcy_stride = 5;
  std::string darcy_coordinates = "linspace";
  bool darcy_true_spacing = false;

  std::int64_t epochs = 100, steps = 0, batch_size = 1, grad_accumulation_steps = 1;
  double clip_grad_norm = 1;
  bool ema = true;
  double ema_decay = 0.999;
  bool timing_only = false;
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

  std::string model_type = "flare";
  bool use_defaults = false;
  std::int64_t num_blocks = 8, channel_dim = 64, num_heads = 8;
  std::string act;
  bool rmsnorm = false;
  std::int64_t num_layers_in_out_proj = 2;
  double in_out_proj_ratio = 1;
  bool out_proj_norm = true;

  std::string attn_scale = "one";
  std::int64_t num_latents = 64, num_layers_k_proj = 3, num_layers_v_proj = 3, num_layers_ffn = 3;
  double k_proj_mlp_ratio = 1, v_proj_mlp_ratio = 1, ffn_mlp_ratio = 1;
  bool qk_norm = false;
  std::int64_t num_layers_kv_proj = 3, num_latent_blocks = 0;
  double kv_proj_mlp_ratio = 1;
  bool shared_latents = false;
  double mlp_ratio = 4;

  std::string device = "cpu", precision = "fp32";
  std::int64_t threads = 0;
  bool mixed_precision = false, legacy = false, no_graph = false;
  std::string recompute = "auto";
  bool compile_model = true, static_graph = true, use_triton = false;
  std::int64_t num_workers = 0;
  std::string prefetch_factor;

  std::string test_dataset, test_data_root, out_file, weights = "raw";
  std::int64_t test_darcy_stride = 0;
  bool baselines = false, spectra = false, legacy_scores = false;

  /// Whether activations are in bf16; --mixed_precision is the reference's name for it.
  bool bf16() const { return precision == "bf16" || mixed_precision; }
  std::filesystem::path folder() const { return std::filesystem::path(out) / exp_name; }
};

/// Whether config.yaml keeps a flag, and whether a restart or an evaluation may change it.
enum class Keep : unsigned char { fixed, free, unsaved };

using Field = std::variant<bool*, std::int64_t*, double*, std::string*, std::optional<double>*>;

/// One flag: `--name value`, listed by --help under its group.
struct Flag {
  const char* group;
  const char* name;
  Field field;
  const char* help;
  Keep keep = Keep::fixed;
};

/// All flags, pointing into `options`; always the same ones in the same order.
std::vector<Flag> flags_of(Options& options);

/// A flag of the reference that this version knows by name only, and what it belongs to.
struct AbsentFlag {
  const char* name;
  const char* owner;
};
const std::vector<AbsentFlag>& absent_flags();

/// The command line, over what the run's folder (or --config) says, over the defaults. Empty where
/// --help was asked for and has been printed. Throws flr::Error with one sentence.
std::optional<Options> parse_options(int argc, char** argv);

/// The part of the options that config.yaml keeps, and back.
flr::train::RunConfig to_config(Options& options);
void apply_config(const flr::train::RunConfig& config, Options& options, const std::string& origin);

/// Refuses values outside their range, and what this version does not have. Prints notes on what is
/// accepted and ignored. `given` are the names on the command line.
void check_options(const Options& options);
void print_notes(Options& options, const std::vector<std::string>& given);

/// Sets what hangs on other flags, unless it is in `given`; and says which of them have no effect.
void settle_options(Options& options, const std::vector<std::string>& given);
void print_effects(const Options& options, const std::vector<std::string>& given);

/// The reference's hyperparameters for this model and data set; flags in `given` stay as they are.
void apply_defaults(Options& options, const std::vector<std::string>& given);

}  // namespace pdebench
