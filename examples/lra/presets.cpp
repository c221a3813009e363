// The settings of papers, as flags: --preset.
#include <sstream>

#include "flr/core/error.hpp"
#include "options.hpp"

namespace lra {

using flr::check;

namespace {

/// Rows that fit a preset, a task and a model ("*": any) hold together, later ones over earlier
/// ones.
struct Row {
  const char *preset, *task, *model, *flags;
};

// `paper`: FLARE, arXiv 2508.12594 v3, its table of Long Range Arena results (February 2026).
// `lightweight`: FLARE as FLARE++'s authors run it (September 2026).
// Both score without padding masks.
constexpr Row rows[] = {
    {"paper", "listops", "*",
     "--num_blocks 4 --channel_dim 128 --num_heads 8 --mlp_ratio 4 --steps 10000 "
     "--learning_rate 5e-4 --weight_decay 1e-5 --linformer_k 128"},
    {"paper", "text", "*",
     "--num_blocks 4 --channel_dim 128 --num_heads 8 --mlp_ratio 4 --steps 20000 "
     "--learning_rate 1e-5 --weight_decay 1e-4 --pool cls --attn_scale sqrt"},
    {"paper", "text", "transformer", "--pos_embed rope"},
    {"paper", "text", "flare", "--pos_embed rope"},
    {"paper", "text", "performer", "--pos_embed rope"},
    {"paper", "text", "linear", "--kernel elu"},
    {"paper", "text", "linformer",
     "--pos_embed rope --learning_rate 5e-7 --weight_decay 5e-3 --linformer_k 128"},
    {"paper", "retrieval", "*",
     "--num_blocks 4 --channel_dim 128 --num_heads 4 --mlp_ratio 4 --steps 10000 "
     "--learning_rate 5e-4 --weight_decay 1e-4"},
    {"paper", "retrieval", "flare", "--num_heads 8 --num_latents 128"},
    {"paper", "retrieval", "linformer",
     "--learning_rate 4.2e-5 --weight_decay 1e-6 --linformer_k 128"},
    {"paper", "image", "*",
     "--num_blocks 3 --channel_dim 64 --num_heads 4 --mlp_ratio 2 --steps 20000 "
     "--learning_rate 1e-3 --weight_decay 5e-2 --linformer_k 256"},
    {"paper", "image", "flare",
     "--num_heads 8 --num_latents 256 --num_layers_kv_proj 2 --num_layers_ffn 1"},
    // "drops .1"; these have no weights that attn_drop could act on.
    {"paper", "image", "performer", "--emb_drop 0.1 --cls_drop 0.1 --proj_drop 0.1"},
    {"paper", "image", "multilinear", "--emb_drop 0.1 --cls_drop 0.1 --proj_drop 0.1"},
    {"paper", "image", "norm_attention", "--emb_drop 0.1 --cls_drop 0.1 --proj_drop 0.1"},
    {"paper", "pathfinder32", "*",
     "--num_blocks 4 --channel_dim 128 --num_heads 8 --mlp_ratio 1 --epochs 200 --steps 0 "
     "--learning_rate 5e-4"},
    {"paper", "pathfinder32", "flare",
     "--weight_decay 5e-4 --emb_drop 0.1 --cls_drop 0.1 --attn_drop 0.1 --proj_drop 0.1 "
     "--clip_grad_norm 0.5 --mixed_precision false"},
    {"paper", "pathfinder32", "transformer",
     "--schedule ConstantLR --learning_rate 6e-4 --batch_size 64 --weight_decay 1.5e-4 "
     "--rmsnorm true --ema true --emb_drop 0.05 --cls_drop 0.05 --attn_drop 0.05 --proj_drop 0.05"},
    {"paper", "pathfinder32", "linear",
     "--kernel elu --clip_grad_norm 0.5 --mixed_precision false"},
    {"paper", "pathfinder32", "linformer",
     "--learning_rate 1e-3 --batch_size 64 --linformer_k 256"},
    // What the tables call norm attention.
    {"paper", "*", "multilinear",
     "--num_states 1 --num_layers_kv_proj -1 --num_layers_ffn 0 --ffn_mlp_ratio 4"},
    {"paper", "*", "norm_attention", "--num_layers_ffn 0 --ffn_mlp_ratio 4"},
    {"paper", "*", "*", "--mask false"},

    {"lightweight", "*", "flare",
     "--num_blocks 4 --channel_dim 128 --num_heads 8 --qk_norm true --num_layers_kv_proj -1 "
     "--num_layers_ffn 0 --attn_scale one --mask false"},
    {"lightweight", "listops", "flare",
     "--num_latents 64 --learning_rate 2e-4 --weight_decay 3e-5 --steps 10000 --ffn_mlp_ratio 4 "
     "--attn_drop 0.05 --rmsnorm true"},
    {"lightweight", "image", "flare",
     "--num_blocks 3 --channel_dim 64 --num_latents 192 --learning_rate 1.5e-3 --weight_decay 6e-2 "
     "--steps 20000 --ffn_mlp_ratio 2 --emb_drop 0.08 --cls_drop 0.08 --attn_drop 0.08 "
     "--proj_drop 0.08 --mixed_precision false --seed 6"},
    {"lightweight", "retrieval", "flare",
     "--num_latents 128 --learning_rate 5e-4 --weight_decay 1e-4 --steps 10000 --ffn_mlp_ratio 4"},
    {"lightweight", "text", "flare",
     "--pool cls --pos_embed rope --num_latents 128 --learning_rate 1.4e-5 --weight_decay 3e-4 "
     "--steps 40000 --one_cycle_pct_start 0.2 --ffn_mlp_ratio 4 --emb_drop 0.08 --cls_drop 0.08 "
     "--attn_drop 0.08 --proj_drop 0.02"},
    {"lightweight", "pathfinder32", "flare",
     "--epochs 200 --steps 0 --num_latents 128 --learning_rate 4.5e-4 --weight_decay 5e-4 "
     "--clip_grad_norm 0.5 --ema true --emb_drop 0.11 --cls_drop 0.11 --attn_drop 0.11 "
     "--proj_drop 0.11 --mixed_precision false --ffn_mlp_ratio 1"},

    // The reference's script for recursive models on Sudoku; its 100 steps are for looking only.
    {"paper", "sudoku", "*",
     "--trm true --num_blocks 2 --channel_dim 256 --num_heads 8 --mlp_ratio 4 --learning_rate 1e-4 "
     "--weight_decay 1 --batch_size 256 --trm_N_steps 5 --trm_n 2 --trm_T 1 --ema true"},
    // Its script for attention of third order on compositional tasks.
    {"paper", "function_composition", "*",
     "--num_blocks 1 --channel_dim 16 --num_heads 1 --batch_size 2500 --epochs 1000 --steps 0 "
     "--learning_rate 1e-3"},
    {"paper", "binary_relation", "*",
     "--num_blocks 1 --channel_dim 16 --num_heads 1 --batch_size 2500 --epochs 1000 --steps 0 "
     "--learning_rate 1e-3"},
    {"paper", "quotient_relation", "*",
     "--num_blocks 1 --channel_dim 16 --num_heads 1 --batch_size 2500 --epochs 1000 --steps 0 "
     "--learning_rate 1e-3"},
    {"paper", "match3", "*",
     "--num_blocks 1 --channel_dim 16 --num_heads 1 --batch_size 2500 --epochs 1000 --steps 0 "
     "--learning_rate 1e-3"},
};

bool fits(const char* pattern, const std::string& name) {
  return std::string_view(pattern) == "*" || name == pattern;
}

}  // namespace

std::string preset_names() {
  return "paper, lightweight";
}

void apply_preset(Options& o, const program::Given& chosen) {
  check(o.preset == "paper" || o.preset == "lightweight", "--preset: expected one of {}; got '{}'",
        preset_names(), o.preset);
  std::vector<std::string> words{"preset"};
  bool knows_task = false;
  for (const Row& row : rows) {
    if (o.preset != row.preset || !fits(row.task, o.task) || !fits(row.model, o.model_type))
      continue;
    knows_task = knows_task || o.task == row.task;
    std::istringstream text(row.flags);
    for (std::string word; text >> word;) words.push_back(word);
  }
  check(knows_task, "--preset {} has no settings for {} on {}", o.preset, o.model_type, o.task);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  Options preset;
  const auto flags = flags_of(preset);
  const auto given =
      program::parse_flags(static_cast<int>(argv.size()), argv.data(), "lra", "", flags);
  program::Given left;
  for (const std::string& name : given->names())
    if (!chosen(name)) left.add(name);
  program::apply_given(left, flags, flags_of(o));
}

}  // namespace lra
