// What values make sense, and what this version has.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string_view>

#include "options.hpp"

namespace pdebench {

using flr::check;
using flr::fail;

namespace {

using Names = std::initializer_list<std::string_view>;

bool among(const std::string& value, Names names) {
  return std::find(names.begin(), names.end(), value) != names.end();
}

void one_of(const char* flag, const std::string& value, Names names) {
  check(among(value, names), "--{}: expected one of {}; got '{}'", flag, fmt::join(names, ", "),
        value);
}

void at_least(const char* flag, std::int64_t value, std::int64_t least,
              std::int64_t most = 1 << 30) {
  check(value >= least && value <= most, "--{}: expected an integer from {} to {}; got {}", flag,
        least, most, value);
}

void between(const char* flag, double value, double low, double high) {
  check(value >= low && value <= high, "--{}: expected a number from {:g} to {:g}; got {:g}", flag,
        low, high, value);
}

void positive(const char* flag, double value) {
  check(value > 0 && std::isfinite(value), "--{}: expected a positive number; got {:g}", flag,
        value);
}

void not_negative(const char* flag, double value) {
  check(value >= 0 && std::isfinite(value), "--{}: expected a number of at least 0; got {:g}", flag,
        value);
}

void check_data(const Options& o) {
  check(!o.dataset.empty(),
        "name a data set with --dataset: elasticity, darcy, darcy_small, "
        "airfoil_steady, pipe, or the path of an .npz");
  for (const std::string& name : {o.dataset, o.test_dataset})
    check(!among(name, {"plasticity", "navier_stokes", "shapenet_car", "lpbf"}) &&
              !name.starts_with("drivaerml"),
          "--dataset: {} is not part of this version", name);
  at_least("data_dims", o.data_dims, 0, 3);
  at_least("train_samples", o.train_samples, 0);
  at_least("test_samples", o.test_samples, 0);
  at_least("darcy_stride", o.darcy_stride, 1);
  one_of("darcy_coordinates", o.darcy_coordinates, {"linspace", "cells"});
  at_least("test_darcy_stride", o.test_darcy_stride, 0);
  check(o.test_dataset.empty() || o.evaluate, "--test_dataset goes with --evaluate true");
  check(!o.test_dataset.empty() || (o.test_data_root.empty() && o.test_darcy_stride == 0),
        "--test_data_root and --test_darcy_stride go with --test_dataset");
  check(o.out_file.empty() || !o.predict.empty(), "--out_file goes with --predict FILE.npz");
  check(!o.spectra || o.evaluate, "--spectra goes with --evaluate true");
}

void check_training(const Options& o) {
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

void check_schedule(const Options& o) {
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

void check_model(const Options& o) {
  check(!among(o.model_type, {"transolver", "transolver++", "lno", "gnot", "perceiverio", "lamo",
                              "linformer", "linear", "triple", "multilinear", "loopy", "unloopy"}),
        "--model_type: {} is not part of this version", o.model_type);
  one_of("model_type", o.model_type,
         {"flare", "flare_experimental", "flare_ablations", "transformer"});
  at_least("num_blocks", o.num_blocks, 0, 4096);
  at_least("channel_dim", o.channel_dim, 1, 1 << 20);
  at_least("num_heads", o.num_heads, 1, 1 << 20);
  check(o.channel_dim % o.num_heads == 0, "--channel_dim {} does not divide into {} heads",
        o.channel_dim, o.num_heads);
  if (!o.act.empty()) one_of("act", o.act, {"gelu", "gelu_tanh", "silu", "relu", "tanh"});
  one_of("attn_scale", o.attn_scale, {"one", "sqrt"});
  at_least("num_latents", o.num_latents, 1);
  at_least("num_latent_blocks", o.num_latent_blocks, 0, 4096);
  for (const auto& [name, layers] : {std::pair{"num_layers_in_out_proj", o.num_layers_in_out_proj},
                                     {"num_layers_k_proj", o.num_layers_k_proj},
                                     {"num_layers_v_proj", o.num_layers_v_proj},
                                     {"num_layers_kv_proj", o.num_layers_kv_proj},
                                     {"num_layers_ffn", o.num_layers_ffn}})
    at_least(name, layers, -1, 64);
  for (const auto& [name, ratio] : {std::pair{"in_out_proj_ratio", o.in_out_proj_ratio},
                                    {"k_proj_mlp_ratio", o.k_proj_mlp_ratio},
                                    {"v_proj_mlp_ratio", o.v_proj_mlp_ratio},
                                    {"kv_proj_mlp_ratio", o.kv_proj_mlp_ratio},
                                    {"ffn_mlp_ratio", o.ffn_mlp_ratio},
                                    {"mlp_ratio", o.mlp_ratio}})
    check(std::isfinite(ratio) && ratio * static_cast<double>(o.channel_dim) >= 1 && ratio <= 1024,
          "--{}: expected a hidden width of at least 1 from {} channels; got a ratio of {:g}", name,
          o.channel_dim, ratio);
}

void check_machine(const Options& o) {
  one_of("device", o.device, {"cpu", "cuda"});
  one_of("precision", o.precision, {"fp32", "tf32", "bf16"});
  at_least("threads", o.threads, 0, 4096);
  one_of("weights", o.weights, {"raw", "ema"});
  // Of a text "none" is the reference's None: it arrives empty.
  if (!o.recompute.empty()) one_of("recompute", o.recompute, {"none", "mlp", "block", "auto"});
  check(o.precision != "tf32" || o.device == "cuda",
        "--precision tf32 needs --device cuda; the CPU computes in fp32 or bf16");
  check(o.precision != "tf32" || !o.mixed_precision,
        "--precision tf32 and --mixed_precision true (bf16) exclude each other");
}

bool starts_with_model(const Flag& flag) {
  return std::string_view(flag.group).starts_with("Models: ");
}

// Whether a flag of a model group does something for a model.
bool concerns(const Flag& flag, const std::string& model) {
  const std::string_view group = flag.group, name = flag.name;
  if (group == "Models: all") return !(name == "rmsnorm" && model == "flare_ablations");
  if (model == "flare_ablations")
    return group == "Models: flare_ablations" || name == "num_latents" ||
           name == "num_layers_ffn" || name == "ffn_mlp_ratio";
  return group.find(model) != group.npos && group != "Models: flare_ablations";
}

}  // namespace

void check_options(const Options& options) {
  check_data(options);
  check_training(options);
  check_schedule(options);
  check_model(options);
  check_machine(options);
}

void print_notes(Options& options, const std::vector<std::string>& given) {
  const auto named = [&](const char* name) {
    return std::find(given.begin(), given.end(), name) != given.end();
  };
  for (const Flag& flag : flags_of(options)) {
    if (!named(flag.name)) continue;
    if (flag.group == std::string_view("Accepted and ignored"))
      fmt::print("note: --{} is ignored: {}\n", flag.name, flag.help);
    if (starts_with_model(flag) && !concerns(flag, options.model_type))
      fmt::print("note: --{} has no effect on {}\n", flag.name, options.model_type);
  }
}

}  // namespace pdebench
