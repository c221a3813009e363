// The table of flags.
#include "options.hpp"

namespace lra {

using program::Flags;
using program::Keep;

namespace {
constexpr const char* run = "Run (exactly one of train, evaluate, restart)";
constexpr const char* data = "Data";
constexpr const char* machine = "Machine";
constexpr const char* every = "Models: all";
constexpr const char* dropping = "Models: dropout";
constexpr const char* blocks = "Models: blocks with a transformer's MLP";
constexpr const char* residual =
    "Models: flare, flare_plus_plus, multilinear, strassen, triple, quad";
constexpr const char* others = "Models: single mixers";
constexpr const char* recursive = "Models: recursive (TRM)";
}  // namespace

Flags flags_of(Options& o) {
  constexpr Keep free = Keep::free;
  Flags flags;
  const auto add = [&](Flags more) { flags.insert(flags.end(), more.begin(), more.end()); };
  program::add_run_flags(flags, o, run);
  add({
      {data, "task", &o.task,
       "listops, text, retrieval, image, pathfinder32, pathfinder128, mta, function_composition, "
       "binary_relation, quotient_relation, match3, sudoku; toy, toy_pairs, toy_tokens"},
      {data, "preset", &o.preset,
       "settings of a paper for task and model: paper (FLARE, v3), lightweight (FLARE++'s FLARE)"},
      {data, "data_root", &o.data_root, "folder of the data sets", free},
      {data, "train_samples", &o.train_samples, "only the first ones; 0: all"},
      {data, "dev_samples", &o.dev_samples, "the same of the development set"},
      {data, "test_samples", &o.test_samples, "the same of the test set"},
      {data, "max_length", &o.max_length, "tokens kept of a text; 0: text 1000, retrieval 4000"},
      {data, "pad_multiple", &o.pad_multiple, "pad to a multiple; the processed sets have 128"},
      {data, "data_seed", &o.data_seed, "of the toy tasks (make_lra makes the others)"},
      {data, "mask", &o.mask, "hide padding from the model; the reference shows it"},
      {data, "eval_batch_size", &o.eval_batch_size, "0: batch_size", free},
  });
  program::add_training_flags(flags, o);
  program::add_optimizer_flags(flags, o);
  program::add_schedule_flags(flags, o);
  add({
      {every, "model_type", &o.model_type,
       "the mixer: transformer, flare, flare_plus_plus, linear, linformer, performer, cosformer, "
       "linear_no, multilinear, norm_attention, strassen, triple, triple1, quad, third_order, ema, "
       "luna"},
      {every, "num_blocks", &o.num_blocks, "depth"},
      {every, "channel_dim", &o.channel_dim, "width"},
      {every, "num_heads", &o.num_heads, "heads of attention"},
      {every, "act", &o.act, "gelu, gelu_tanh, silu, relu, tanh; else the model's own"},
      {every, "rmsnorm", &o.rmsnorm, "RMS norm in place of layer norm"},
      {every, "pool", &o.pool, "mean, max, or cls: a class token"},
      {every, "pos_embed", &o.pos_embed, "abs (learned), sin, or rope (rotary)"},

      {dropping, "emb_drop", &o.emb_drop, "of embedded tokens"},
      {dropping, "cls_drop", &o.cls_drop, "in front of the classifier"},
      {dropping, "attn_drop", &o.attn_drop, "of attention weights: transformer and flare"},
      {dropping, "proj_drop", &o.proj_drop, "of mixers' outputs, and in a transformer's MLP"},

      {blocks, "mlp_ratio", &o.mlp_ratio, "hidden width over channels"},
      {others, "linformer_k", &o.linformer_k, "linformer: projected tokens"},
      {others, "performer_nb_features", &o.performer_nb_features, "performer: features of a head"},
      {others, "performer_redraw_interval", &o.performer_redraw_interval,
       "performer: steps between new features; 0: none"},
      {others, "performer_normalize_inputs", &o.performer_normalize_inputs,
       "performer: divide q and k by the fourth root of D"},
      {others, "kernel", &o.kernel, "linear, multilinear and their kin: feature map"},
      {others, "qk_dim_ratio", &o.qk_dim_ratio, "their width of queries and keys over channels"},
      {others, "norm_q", &o.norm_q, "their queries as unit vectors"},
      {others, "norm_k", &o.norm_k, "their keys as unit vectors"},
      {others, "num_states", &o.num_states, "multilinear: states that are multiplied"},
      {others, "third_order_method", &o.third_order_method, "third_order: strassen or third_order"},

      {residual, "attn_scale", &o.attn_scale, "flare: one, or sqrt: 1/sqrt(D)"},
      {residual, "num_latents", &o.num_latents, "flare, flare_plus_plus: latent tokens; luna: packed tokens"},
      {residual, "qk_norm", &o.qk_norm, "flare: normalise latents and keys; luna: queries and keys"},
      {residual, "num_layers_kv_proj", &o.num_layers_kv_proj,
       "residual layers to keys and values; -1: linear"},
      {residual, "num_layers_ffn", &o.num_layers_ffn, "residual layers of each block's MLP"},
      {residual, "kv_proj_mlp_ratio", &o.kv_proj_mlp_ratio, "hidden width over channels"},
      {residual, "ffn_mlp_ratio", &o.ffn_mlp_ratio, "the same of each block's MLP"},

      {recursive, "trm", &o.trm, "apply the blocks recursively, with supervision steps"},
      {recursive, "trm_N_steps", &o.trm_N_steps, "supervision steps on a batch"},
      {recursive, "trm_n", &o.trm_n, "inner steps of a recursion"},
      {recursive, "trm_T", &o.trm_T, "recursions of a step; the last one is differentiated"},
  });
  program::add_machine_flags(flags, o);
  add({
      {machine, "recompute", &o.recompute, "backward makes blocks again instead of keeping them",
       free},
      {machine, "legacy", &o.legacy, "models and Lion as the reference really computed them"},
  });
  program::add_ignored_flags(flags, o);
  return flags;
}

}  // namespace lra
