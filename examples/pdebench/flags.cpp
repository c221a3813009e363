// The table of flags.
#include "options.hpp"

namespace pdebench {

namespace {
constexpr const char* run = "Run (exactly one of train, evaluate, restart, predict)";
constexpr const char* data = "Data";
constexpr const char* training = "Training";
constexpr const char* machine = "Machine";
constexpr const char* results = "Evaluation and prediction";
constexpr const char* every = "Models: all";
constexpr const char* flare = "Models: flare, flare_experimental, flare_ablations";
constexpr const char* ablations = "Models: flare_ablations";
constexpr const char* transformer = "Models: transformer";
}  // namespace

program::Flags flags_of(Options& o) {
  constexpr Keep free = Keep::free, unsaved = Keep::unsaved;
  program::Flags flags;
  const auto add = [&](program::Flags more) {
    flags.insert(flags.end(), more.begin(), more.end());
  };
  program::add_run_flags(flags, o, run);
  add({
      {run, "predict", &o.predict, "an .npz of inputs without targets", unsaved},

      {data, "dataset", &o.dataset,
       "elasticity, darcy, darcy_small, airfoil_steady, pipe, or the path of an .npz"},
      {data, "data_root", &o.data_root, "folder of the data sets", free},
      {data, "data_x", &o.data_x, "key of the inputs [S,N,c] in an .npz", free},
      {data, "data_y", &o.data_y, "key of the targets [S,N,c] in an .npz", free},
      {data, "data_split", &o.data_split, "JSON of train and test samples; else the last fifth",
       free},
      {data, "data_normalize_x", &o.data_normalize_x, "normalise the inputs of an .npz"},
      {data, "data_dims", &o.data_dims, "leading inputs that are coordinates; 0: all, up to 3",
       free},
      {data, "train_samples", &o.train_samples, "0: the published number"},
      {data, "test_samples", &o.test_samples, "0: the published number"},
      {data, "darcy_stride", &o.darcy_stride,
       "take every n-th grid line; 0: every 5th of the published 421, else every one"},
      {data, "darcy_coordinates", &o.darcy_coordinates,
       "linspace (0 to 1, the reference's) or cells (where the values sit)"},
      {data, "darcy_true_spacing", &o.darcy_true_spacing,
       "derivative step 1/(n-1) in the loss, not the paper's 1/n"},
  });
  program::add_training_flags(flags, o);
  add({{training, "timing_only", &o.timing_only, "batch size 1, 2 epochs"}});
  program::add_optimizer_flags(flags, o);
  program::add_schedule_flags(flags, o);
  add({
      {every, "model_type", &o.model_type,
       "flare, flare_experimental, flare_ablations, transformer"},
      {every, "use_defaults", &o.use_defaults, "hyperparameters of the paper for model and data"},
      {every, "num_blocks", &o.num_blocks, "depth"},
      {every, "channel_dim", &o.channel_dim, "width"},
      {every, "num_heads", &o.num_heads, "heads of attention"},
      {every, "act", &o.act, "gelu, gelu_tanh, silu, relu, tanh; else the model's own"},
      {every, "rmsnorm", &o.rmsnorm, "RMS norm in place of layer norm"},
      {every, "num_layers_in_out_proj", &o.num_layers_in_out_proj, "of first and last MLP"},
      {every, "in_out_proj_ratio", &o.in_out_proj_ratio, "their hidden width over channels"},
      {every, "out_proj_norm", &o.out_proj_norm, "a norm in front of the last MLP"},

      {flare, "attn_scale", &o.attn_scale, "one, or sqrt: 1/sqrt(D)"},
      {flare, "num_latents", &o.num_latents, "latent tokens"},
      {flare, "num_layers_k_proj", &o.num_layers_k_proj, "residual layers to keys; -1: linear"},
      {flare, "num_layers_v_proj", &o.num_layers_v_proj, "the same to values"},
      {flare, "k_proj_mlp_ratio", &o.k_proj_mlp_ratio, "hidden width over channels"},
      {flare, "v_proj_mlp_ratio", &o.v_proj_mlp_ratio, "the same for values"},
      {flare, "num_layers_ffn", &o.num_layers_ffn, "residual layers of each block's MLP"},
      {flare, "ffn_mlp_ratio", &o.ffn_mlp_ratio, "its hidden width over channels"},
      {flare, "qk_norm", &o.qk_norm, "normalise latents and keys"},
      {ablations, "num_layers_kv_proj", &o.num_layers_kv_proj,
       "residual layers to keys and values"},
      {ablations, "kv_proj_mlp_ratio", &o.kv_proj_mlp_ratio, "hidden width over channels"},
      {ablations, "shared_latents", &o.shared_latents, "one set of latents for all heads"},
      {ablations, "num_latent_blocks", &o.num_latent_blocks, "self-attention among the latents"},
      {transformer, "mlp_ratio", &o.mlp_ratio, "hidden width over channels"},
  });
  program::add_machine_flags(flags, o);
  add({
      {machine, "recompute", &o.recompute,
       "what backward makes again instead of keeping it: none, mlp, block, or auto", free},
      {machine, "legacy", &o.legacy, "Lion and scores as the reference really computed them"},

      {results, "test_dataset", &o.test_dataset, "evaluate on the test half of another set",
       unsaved},
      {results, "test_data_root", &o.test_data_root, "its folder; else data_root", unsaved},
      {results, "test_darcy_stride", &o.test_darcy_stride, "its grid lines; 0: as in training",
       unsaved},
      {results, "baselines", &o.baselines, "errors of mean field and nearest training sample",
       unsaved},
      {results, "spectra", &o.spectra, "eigenvalues of the mixing matrices", unsaved},
      {results, "legacy_scores", &o.legacy_scores, "spectra without the model's scale", unsaved},
      {results, "out_file", &o.out_file, "where --predict writes", unsaved},
  });
  program::add_ignored_flags(flags, o);
  return flags;
}

const std::vector<AbsentFlag>& absent_flags() {
  static const std::vector<AbsentFlag> list{
      {"linformer_k", "linformer"},
      {"kernel", "linear attention"},
      {"qk_dim_ratio", "linear attention"},
      {"norm_q", "linear attention"},
      {"norm_k", "linear attention"},
      {"num_states", "multilinear"},
      {"num_passes", "loopy"},
      {"shared_ffn", "unloopy"},
      {"shared_att", "unloopy"},
      {"gating", "unloopy"},
      {"num_layers_gating_proj", "unloopy"},
      {"gating_proj_mlp_ratio", "unloopy"},
      {"conv2d", "transolver"},
      {"unified_pos", "transolver"},
      {"num_slices", "transolver"},
      {"num_modes", "lno"},
      {"num_experts", "gnot"},
      {"pcvr_cross_attn", "perceiverio"},
  };
  return list;
}

}  // namespace pdebench
