// What a run of pdebench is asked to do: the reference's flags and defaults, and some of our own.
#pragma once

#include "run_options.hpp"

namespace pdebench {

using program::AbsentFlag;
using program::Flag;
using program::Given;
using program::Keep;

struct Options : program::RunOptions {
  Options() { out = "out/pdebench"; }

  std::string predict;  ///< a fourth mode

  std::string dataset, data_root = "data", data_x = "x", data_y = "y", data_split;
  bool data_normalize_x = false;
  std::int64_t data_dims = 0, train_samples = 0, test_samples = 0;
  std::int64_t darcy_stride = 0;
  std::string darcy_coordinates = "linspace";
  bool darcy_true_spacing = false;

  bool timing_only = false;

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

  std::string recompute = "auto";

  std::string test_dataset, test_data_root, out_file;
  std::int64_t test_darcy_stride = 0;
  bool baselines = false, spectra = false, legacy_scores = false;
};

/// All flags, pointing into `options`; always the same ones in the same order.
program::Flags flags_of(Options& options);
const std::vector<AbsentFlag>& absent_flags();

/// The command line, over what the run's folder (or --config) says, over the defaults. Empty where
/// --help was asked for and has been printed. Throws flr::Error with one sentence.
std::optional<Options> parse_options(int argc, char** argv);

/// Refuses values outside their range, and what this version does not have.
void check_options(const Options& options);
/// Says which of the given flags have no effect.
void print_notes(Options& options, const Given& given);

/// The reference's hyperparameters for this model and data set; flags that were chosen stay.
void apply_defaults(Options& options, const Given& chosen);

}  // namespace pdebench
