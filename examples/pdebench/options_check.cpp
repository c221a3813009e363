// What values make sense, and what this version has.
#include <fmt/core.h>

#include "options.hpp"
#include "values.hpp"

namespace pdebench {

using flr::check;
using program::among;
using program::at_least;
using program::one_of;

namespace {

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
  at_least("darcy_stride", o.darcy_stride, 0);
  one_of("darcy_coordinates", o.darcy_coordinates, {"linspace", "cells"});
  at_least("test_darcy_stride", o.test_darcy_stride, 0);
  check(o.test_dataset.empty() || o.evaluate, "--test_dataset goes with --evaluate true");
  check(!o.test_dataset.empty() || (o.test_data_root.empty() && o.test_darcy_stride == 0),
        "--test_data_root and --test_darcy_stride go with --test_dataset");
  check(o.out_file.empty() || !o.predict.empty(), "--out_file goes with --predict FILE.npz");
  check(!o.spectra || o.evaluate, "--spectra goes with --evaluate true");
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
    program::hidden_ratio(name, ratio, o.channel_dim);
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
  program::check_run_options(options);
  check_model(options);
  // Of a text "none" is the reference's None: it arrives empty.
  if (!options.recompute.empty())
    one_of("recompute", options.recompute, {"none", "mlp", "block", "auto"});
}

void print_notes(Options& o, const Given& given) {
  const program::Flags flags = flags_of(o);
  for (const Flag& flag : flags)
    if (given(flag.name) && starts_with_model(flag) && !concerns(flag, o.model_type))
      fmt::print("note: --{} has no effect on {}\n", flag.name, o.model_type);
  program::print_run_notes(o, flags, given);

  const auto note = [&](std::string_view flag, bool useless, const std::string& why) {
    program::note_useless(given, flag, useless, why);
  };
  note("legacy", o.optimizer != "lion" && !o.spectra, "it concerns --optimizer lion and --spectra");
  const bool npz = o.dataset.ends_with(".npz"), darcy = o.dataset.starts_with("darcy");
  for (const char* name : {"data_x", "data_y", "data_split"})
    note(name, !npz && o.predict.empty(), "it concerns data sets of your own, as .npz");
  for (const char* name : {"darcy_stride", "darcy_coordinates", "darcy_true_spacing"})
    note(name, !darcy, "--dataset is " + o.dataset);
  note("data_root", npz, "--dataset is a path");
  note("epochs", o.steps > 0 && !o.timing_only, "--steps counts");
  for (const char* name : {"epochs", "steps", "batch_size"})
    note(name, o.timing_only, "--timing_only means 2 epochs of batch size 1");
}

}  // namespace pdebench
