// From the command line to options, and what values make sense.
#include "options.hpp"

#include <fmt/core.h>

#include "flr/models/lra_mixers.hpp"
#include "resolve_options.hpp"
#include "values.hpp"

namespace lra {

using flr::check;
using program::at_least;
using program::between;
using program::one_of;

namespace {

void check_modes(const Options& o) {
  const int modes = o.train + o.evaluate + o.restart;
  check(modes == 1,
        "expected exactly one of --train true, --evaluate true and --restart true; got {}",
        modes == 0 ? "none" : "several");
}

void settle(Options& o, const program::Given& chosen) {
  if (!o.preset.empty()) apply_preset(o, chosen);
  // Steps go before epochs, and have a default: asking for epochs alone means them.
  if (chosen("epochs") && !chosen("steps") && o.epochs > 0) o.steps = 0;
  program::settle_run_options(o, chosen);
}

void check_model(const Options& o) {
  flr::models::lra_mixer<float>(o.model_type);  // an error lists the names
  at_least("num_blocks", o.num_blocks, 0, 4096);
  at_least("channel_dim", o.channel_dim, 1, 1 << 20);
  at_least("num_heads", o.num_heads, 1, 1 << 20);
  check(o.channel_dim % o.num_heads == 0, "--channel_dim {} does not divide into {} heads",
        o.channel_dim, o.num_heads);
  if (!o.act.empty()) one_of("act", o.act, {"gelu", "gelu_tanh", "silu", "relu", "tanh"});
  one_of("pool", o.pool, {"mean", "max", "cls"});
  one_of("pos_embed", o.pos_embed, {"abs", "sin", "rope"});
  check(o.pos_embed != "rope" || o.channel_dim / o.num_heads % 2 == 0,
        "--pos_embed rope turns pairs of channels; {} heads of {} channels have {} each",
        o.num_heads, o.channel_dim, o.channel_dim / o.num_heads);
  for (const auto& [name, p] : {std::pair{"emb_drop", o.emb_drop},
                                {"cls_drop", o.cls_drop},
                                {"attn_drop", o.attn_drop},
                                {"proj_drop", o.proj_drop}})
    between(name, p, 0, 0.99);
  one_of("attn_scale", o.attn_scale, {"one", "sqrt"});
  one_of("third_order_method", o.third_order_method, {"third_order", "strassen"});
  flr::mixers::feature_map_named(o.kernel);
  for (const auto& [name, n] : {std::pair{"num_latents", o.num_latents},
                                {"linformer_k", o.linformer_k},
                                {"performer_nb_features", o.performer_nb_features},
                                {"num_states", o.num_states},
                                {"trm_N_steps", o.trm_N_steps},
                                {"trm_n", o.trm_n},
                                {"trm_T", o.trm_T}})
    at_least(name, n, 1);
  at_least("performer_redraw_interval", o.performer_redraw_interval, 0);
  at_least("num_layers_kv_proj", o.num_layers_kv_proj, -1, 64);
  at_least("num_layers_ffn", o.num_layers_ffn, -1, 64);
  for (const auto& [name, ratio] : {std::pair{"mlp_ratio", o.mlp_ratio},
                                    {"kv_proj_mlp_ratio", o.kv_proj_mlp_ratio},
                                    {"ffn_mlp_ratio", o.ffn_mlp_ratio},
                                    {"qk_dim_ratio", o.qk_dim_ratio}})
    program::hidden_ratio(name, ratio, o.channel_dim);
  check(!o.trm || o.pool != "cls", "--trm true takes no class token; use --pool mean or max");
  check(!o.trm || o.grad_accumulation_steps == 1,
        "--trm true carries its state from step to step, so --grad_accumulation_steps must be 1");
}

void print_notes(Options& o, const program::Given& given) {
  program::print_run_notes(o, flags_of(o), given);
  const auto note = [&](std::string_view flag, bool useless, const std::string& why) {
    program::note_useless(given, flag, useless, why);
  };
  note("epochs", o.steps > 0, "--steps counts");
  for (const char* name : {"trm_N_steps", "trm_n", "trm_T"}) note(name, !o.trm, "--trm is false");
  const std::string model = "--model_type is " + o.model_type;
  const bool flare = o.model_type == "flare", luna = o.model_type == "luna";
  note("attn_scale", !flare, model);
  note("qk_norm", !flare && !luna, model);
  note("num_latents", !o.model_type.starts_with("flare") && !luna, model);
  note("data_seed", !o.task.starts_with("toy"), "--task is " + o.task);
  note("linformer_k", o.model_type != "linformer", model);
  note("num_states", o.model_type != "multilinear", model);
  note("third_order_method", o.model_type != "third_order", model);
  note("attn_drop", o.model_type != "flare" && o.model_type != "transformer", model);
  for (const char* name :
       {"performer_nb_features", "performer_redraw_interval", "performer_normalize_inputs"})
    note(name, o.model_type != "performer", model);
}

}  // namespace

void check_options(const Options& o) {
  check(!o.task.empty(), "name a task with --task");
  for (const auto& [name, n] : {std::pair{"train_samples", o.train_samples},
                                {"dev_samples", o.dev_samples},
                                {"test_samples", o.test_samples},
                                {"eval_batch_size", o.eval_batch_size}})
    at_least(name, n, 0);
  at_least("max_length", o.max_length, 0);
  at_least("pad_multiple", o.pad_multiple, 1);
  at_least("data_seed", o.data_seed, 0, std::int64_t{1} << 62);
  program::check_run_options(o);
  check_model(o);
}

std::optional<Options> parse_options(int argc, char** argv) {
  static const std::vector<program::AbsentFlag> absent;
  const program::OptionRules<Options> rules{
      "lra",
      "Trains models on the Long Range Arena and on small reasoning tasks, and evaluates them.\n"
      "  lra --train true --task listops --model_type flare --preset paper --exp_name mine\n"
      "  lra --restart true --exp_name mine\n"
      "  lra --evaluate true --exp_name mine",
      flags_of,
      absent,
      check_modes,
      settle,
      check_options};
  auto resolved = program::resolve_options(argc, argv, rules);
  if (!resolved) return {};
  print_notes(resolved->options, resolved->given);
  return std::move(resolved->options);
}

}  // namespace lra
