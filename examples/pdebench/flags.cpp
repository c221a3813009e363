// The table of flags.
#include "options.hpp"

namespace pdebench {

namespace {
constexpr const char* run = "Run (exactly one of train, evaluate, restart, predict)";
constexpr const char* data = "Data";
constexpr const char* training = "Training";
constexpr const char* optimiser = "Optimiser";
constexpr const char* schedule = "Schedule";
constexpr const char* machine = "Machine";
constexpr const char* results = "Evaluation and prediction";
constexpr const char* every = "Models: all";
constexpr const char* flare = "Models: flare, flare_experimental, flare_ablations";
constexpr const char* ablations = "Models: flare_ablations";
constexpr const char* transformer = "Models: transformer";
constexpr const char* ignored = "Accepted and ignored";
}  // namespace

std::vector<Flag> flags_of(Options& o) {
  constexpr Keep free = Keep::free, unsaved = Keep::unsaved;
  return {
      {run, "train", &o.train, "train a model from the start", unsaved},
      {run, "evaluate", &o.evaluate, "errors and pictures of the latest checkpoint", unsaved},
      {run, "restart", &o.restart, "go on from the latest checkpoint, with the same bits", unsaved},
      {run, "predict", &o.predict, "an .npz of inputs without targets", unsaved},
      {run, "exp_name", &o.exp_name, "name of the run; a new run takes the next free one", free},
      {run, "out", &o.out, "folder of all runs", unsaved},
      {run, "load_weights_path", &o.load_weights_path, "start from the weights of a .safetensors"},
      {run, "config", &o.config, "start from a config.yaml; flags go before it", unsaved},
      {run, "seed", &o.seed, "of weights and batches"},

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
      {data, "darcy_stride", &o.darcy_stride, "take every n-th grid line"},
      {data, "darcy_coordinates", &o.darcy_coordinates,
       "linspace (0 to 1, the reference's) or cells (where the values sit)"},
      {data, "darcy_true_spacing", &o.darcy_true_spacing,
       "derivative step 1/(n-1) in the loss, not the paper's 1/n"},

      {training, "epochs", &o.epochs, "passes over the training set"},
      {training, "steps", &o.steps, "optimiser steps; replaces epochs if positive"},
      {training, "batch_size", &o.batch_size, "samples in a batch"},
      {training, "grad_accumulation_steps", &o.grad_accumulation_steps, "batches in a step"},
      {training, "clip_grad_norm", &o.clip_grad_norm, "largest gradient norm; 0: no limit"},
      {training, "ema", &o.ema, "keep an average of the weights"},
      {training, "ema_decay", &o.ema_decay, "of the average"},
      {training, "timing_only", &o.timing_only, "batch size 1, 2 epochs"},
      {training, "stats_every", &o.stats_every,
       "epochs (with --steps: steps) between statistics; 0: a tenth of the run", free},
      {training, "checkpoint_every", &o.checkpoint_every, "the same for checkpoints; 0: with them",
       free},

      {optimiser, "optimizer", &o.optimizer, "adamw, adam, sgd, lion, muon"},
      {optimiser, "learning_rate", &o.learning_rate, "the largest"},
      {optimiser, "weight_decay", &o.weight_decay, "of the group that decays"},
      {optimiser, "opt_beta1", &o.opt_beta1, "decay of the mean of gradients; OneCycleLR moves it"},
      {optimiser, "opt_beta2", &o.opt_beta2, "decay of the mean of their squares"},
      {optimiser, "opt_eps", &o.opt_eps, "added to the root of that"},
      {optimiser, "momentum", &o.momentum, "of sgd (0.9) and muon (0.95)"},
      {optimiser, "nesterov", &o.nesterov, "sgd: look ahead"},
      {optimiser, "muon_adam_lr", &o.muon_adam_lr,
       "muon: rate of what AdamW trains; else the same"},
      {optimiser, "decay_latents", &o.decay_latents,
       "latents decay like matrices, as in the published runs"},

      {schedule, "schedule", &o.schedule,
       "OneCycleLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, ConstantLR"},
      {schedule, "one_cycle_pct_start", &o.one_cycle_pct_start, "part of the run that rises"},
      {schedule, "one_cycle_div_factor", &o.one_cycle_div_factor, "largest rate over the first"},
      {schedule, "one_cycle_final_div_factor", &o.one_cycle_final_div_factor, "first over last"},
      {schedule, "one_cycle_three_phase", &o.one_cycle_three_phase,
       "fall to the first rate between"},
      {schedule, "one_cycle_cycle_momentum", &o.one_cycle_cycle_momentum, "beta1 moves too"},
      {schedule, "one_cycle_base_momentum", &o.one_cycle_base_momentum, "smallest beta1"},
      {schedule, "one_cycle_max_momentum", &o.one_cycle_max_momentum, "largest beta1"},
      {schedule, "one_cycle_anneal_strategy", &o.one_cycle_anneal_strategy, "cos or linear"},
      {schedule, "one_cycle_override_min_lr", &o.one_cycle_override_min_lr, "the last rate"},
      {schedule, "warmup_steps", &o.warmup_steps, "linear warm-up in front of any schedule"},
      {schedule, "min_learning_rate", &o.min_learning_rate, "where cosines end"},
      {schedule, "restart_period", &o.restart_period, "steps of the first cosine; 0: a quarter"},
      {schedule, "restart_factor", &o.restart_factor, "each next one so many times as long"},

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

      {machine, "device", &o.device, "cpu or cuda", free},
      {machine, "precision", &o.precision,
       "fp32; tf32: rounded factors in matrix products, on a GPU; bf16: activations of 16 bits"},
      {machine, "mixed_precision", &o.mixed_precision, "the reference's name of bf16"},
      {machine, "recompute", &o.recompute,
       "what backward makes again instead of keeping it: none, mlp, block, or auto", free},
      {machine, "no_graph", &o.no_graph, "GPU: no CUDA graphs; slower, with the same bits", free},
      {machine, "threads", &o.threads, "0: all; results do not depend on it", free},
      {machine, "legacy", &o.legacy, "Lion and scores as the reference really computed them"},

      {results, "test_dataset", &o.test_dataset, "evaluate on the test half of another set",
       unsaved},
      {results, "test_data_root", &o.test_data_root, "its folder; else data_root", unsaved},
      {results, "test_darcy_stride", &o.test_darcy_stride, "its grid lines; 0: as in training",
       unsaved},
      {results, "weights", &o.weights, "raw or ema, for pictures and predictions", unsaved},
      {results, "baselines", &o.baselines, "errors of mean field and nearest training sample",
       unsaved},
      {results, "spectra", &o.spectra, "eigenvalues of the mixing matrices", unsaved},
      {results, "legacy_scores", &o.legacy_scores, "spectra without the model's scale", unsaved},
      {results, "out_file", &o.out_file, "where --predict writes", unsaved},

      {ignored, "compile_model", &o.compile_model, "nothing is compiled when a run starts", free},
      {ignored, "static_graph", &o.static_graph, "belongs to compile_model", free},
      {ignored, "use_triton", &o.use_triton, "there is no Triton here", free},
      {ignored, "num_workers", &o.num_workers, "batches are made in one thread, ahead of time",
       free},
      {ignored, "prefetch_factor", &o.prefetch_factor, "one batch is made ahead", free},
  };
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
