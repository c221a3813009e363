// What a run of lra is asked to do: the reference's flags and defaults, and some of our own.
#pragma once

#include "run_options.hpp"

namespace lra {

struct Options : program::RunOptions {
  Options() {
    out = "out/lra";
    epochs = 0, steps = 10000, batch_size = 32;
    learning_rate = 5e-4, weight_decay = 1e-4, opt_beta2 = 0.98;
    one_cycle_final_div_factor = 1e-2;
    mixed_precision = true, ema = false;
    num_workers = 8, prefetch_factor = "4";
  }

  std::string task = "listops", data_root = "data", preset;
  std::int64_t train_samples = 0, dev_samples = 0, test_samples = 0, data_seed = 0;
  std::int64_t max_length = 0, pad_multiple = 1;
  bool mask = true;
  std::int64_t eval_batch_size = 0;

  std::string model_type = "transformer";
  std::int64_t num_blocks = 4, channel_dim = 128, num_heads = 8;
  std::string act;
  bool rmsnorm = false;
  std::string pool = "mean", pos_embed = "abs";
  double emb_drop = 0, cls_drop = 0, attn_drop = 0, proj_drop = 0;

  double mlp_ratio = 4;
  std::int64_t linformer_k = 256;
  std::int64_t performer_nb_features = 256, performer_redraw_interval = 0;
  bool performer_normalize_inputs = true;
  std::string kernel = "identity";
  double qk_dim_ratio = 1;
  bool norm_q = true, norm_k = true;
  std::int64_t num_states = 2;
  std::string attn_scale = "one";
  std::int64_t num_latents = 128, num_layers_kv_proj = 3, num_layers_ffn = 3;
  double kv_proj_mlp_ratio = 1, ffn_mlp_ratio = 1;
  bool qk_norm = false;
  std::string third_order_method = "third_order";

  bool trm = false;
  std::int64_t trm_N_steps = 16, trm_n = 6, trm_T = 3;

  bool recompute = false;

  std::int64_t evaluation_batch() const {
    return eval_batch_size > 0 ? eval_batch_size : batch_size;
  }
};

/// All flags, pointing into `options`; always the same ones in the same order.
program::Flags flags_of(Options& options);

/// The command line, over what the run's folder (or --config) says, over the preset, over the
/// defaults. Empty where --help was printed. Throws flr::Error with one sentence.
std::optional<Options> parse_options(int argc, char** argv);

/// Refuses values outside their range.
void check_options(const Options& options);

/// The settings that a paper gives for this task and model, where they were not chosen otherwise.
/// Refuses a preset that does not know the task or the model.
void apply_preset(Options& options, const program::Given& chosen);
/// Names of presets, for messages and --help.
std::string preset_names();

}  // namespace lra
