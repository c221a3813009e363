// What --preset fills in, for every task and model that it knows, against the papers' tables of
// settings written out here once more: a preset and its flags by hand are the same run.
#include <doctest/doctest.h>

#include <map>
#include <sstream>

#include "flr/train/run_config.hpp"
#include "options.hpp"

namespace {

using Settings = std::map<std::string, std::string>;

/// What a command line comes to: every flag's value as it would stand in config.yaml.
Settings settings_of(const std::string& flags) {
  std::vector<std::string> words{"lra", "--train", "true"};
  std::istringstream text(flags);
  for (std::string word; text >> word;) words.push_back(word);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  auto options = lra::parse_options(static_cast<int>(argv.size()), argv.data());
  REQUIRE(options);
  Settings values;
  const auto config = program::to_config(lra::flags_of(*options));
  for (const auto& [key, value] : config.entries()) values[key] = flr::train::to_yaml(value);
  values.erase("preset");
  return values;
}

/// Flags that say nothing to a model; a preset may set them for all of a task's models.
void drop_useless(Settings& values, const std::string& model) {
  if (model != "linformer") values.erase("linformer_k");
  if (model != "flare") values.erase("attn_scale");
}

void check_preset(const std::string& preset, const std::string& task, const std::string& model,
                  const std::string& flags) {
  const std::string run = "--task " + task + " --model_type " + model + " ";
  Settings made = settings_of(run + "--preset " + preset), by_hand = settings_of(run + flags);
  drop_useless(made, model), drop_useless(by_hand, model);
  CAPTURE(preset);
  CAPTURE(task);
  CAPTURE(model);
  REQUIRE(made.size() == by_hand.size());
  for (const auto& [key, value] : by_hand) {
    CAPTURE(key);
    CHECK(made.at(key) == value);
  }
}

/// FLARE, arXiv 2508.12594 v3: B, C, H and mlp; steps; learning rate and weight decay.
void check_paper(const std::string& task, const std::string& common,
                 const std::map<std::string, std::string>& models) {
  for (const auto& [model, flags] : models)
    check_preset("paper", task, model, common + " --mask false " + flags);
}

// What its tables call norm attention, which two mixers here can be.
const std::string norm_by_multilinear =
    "--num_states 1 --num_layers_kv_proj -1 --num_layers_ffn 0 --ffn_mlp_ratio 4";
const std::string norm = "--num_layers_ffn 0 --ffn_mlp_ratio 4";

}  // namespace

TEST_CASE("paper: ListOps") {
  check_paper("listops",
              "--num_blocks 4 --channel_dim 128 --num_heads 8 --mlp_ratio 4 --steps 10000 "
              "--learning_rate 5e-4 --weight_decay 1e-5",
              {{"transformer", ""},
               {"flare", "--num_latents 128 --num_layers_kv_proj 3 --num_layers_ffn 3 "
                         "--kv_proj_mlp_ratio 1 --ffn_mlp_ratio 1 --attn_scale one"},
               {"linformer", "--linformer_k 128"},
               {"linear", "--kernel identity --norm_q true --norm_k true"},
               {"performer", "--performer_nb_features 256"},
               {"multilinear", norm_by_multilinear},
               {"norm_attention", norm}});
}

TEST_CASE("paper: Text") {
  check_paper("text",
              "--num_blocks 4 --channel_dim 128 --num_heads 8 --mlp_ratio 4 --steps 20000 "
              "--weight_decay 1e-4 --pool cls",
              {{"transformer", "--learning_rate 1e-5 --pos_embed rope"},
               {"flare", "--learning_rate 1e-5 --pos_embed rope --num_latents 128 --attn_scale sqrt "
                         "--num_layers_kv_proj 3 --num_layers_ffn 3"},
               {"performer", "--learning_rate 1e-5 --pos_embed rope"},
               {"linear", "--learning_rate 1e-5 --kernel elu --pos_embed abs"},
               {"linformer", "--learning_rate 5e-7 --weight_decay 5e-3 --linformer_k 128 "
                             "--pos_embed rope"},
               {"multilinear", "--learning_rate 1e-5 " + norm_by_multilinear},
               {"norm_attention", "--learning_rate 1e-5 " + norm}});
}

TEST_CASE("paper: Retrieval") {
  check_paper("retrieval",
              "--num_blocks 4 --channel_dim 128 --num_heads 4 --mlp_ratio 4 --steps 10000 "
              "--learning_rate 5e-4 --weight_decay 1e-4",
              {{"transformer", ""},
               {"flare", "--num_heads 8 --num_latents 128"},
               {"linear", ""},
               {"performer", ""},
               {"linformer", "--learning_rate 4.2e-5 --weight_decay 1e-6 --linformer_k 128"},
               {"multilinear", norm_by_multilinear},
               {"norm_attention", norm}});
}

TEST_CASE("paper: Image") {
  const std::string drops = "--emb_drop 0.1 --cls_drop 0.1 --proj_drop 0.1 ";
  check_paper("image",
              "--num_blocks 3 --channel_dim 64 --num_heads 4 --mlp_ratio 2 --steps 20000 "
              "--learning_rate 1e-3 --weight_decay 5e-2",
              {{"transformer", ""},
               {"flare", "--num_heads 8 --num_latents 256 --num_layers_kv_proj 2 --num_layers_ffn 1"},
               {"linear", ""},
               {"performer", drops},
               {"linformer", "--linformer_k 256"},
               {"multilinear", drops + norm_by_multilinear},
               {"norm_attention", drops + norm}});
}

TEST_CASE("paper: Pathfinder") {
  const std::string exact = "--clip_grad_norm 0.5 --mixed_precision false ";
  check_paper("pathfinder32",
              "--num_blocks 4 --channel_dim 128 --num_heads 8 --mlp_ratio 1 --epochs 200 --steps 0",
              {{"transformer",
                "--schedule ConstantLR --learning_rate 6e-4 --weight_decay 1.5e-4 --batch_size 64 "
                "--rmsnorm true --ema true --emb_drop 0.05 --cls_drop 0.05 --attn_drop 0.05 "
                "--proj_drop 0.05"},
               {"flare", exact + "--learning_rate 5e-4 --weight_decay 5e-4 --batch_size 32 --emb_drop 0.1 "
                                 "--cls_drop 0.1 --attn_drop 0.1 --proj_drop 0.1 --num_latents 128"},
               {"linear", exact + "--learning_rate 5e-4 --kernel elu"},
               {"linformer", "--learning_rate 1e-3 --batch_size 64 --linformer_k 256"},
               {"performer", "--learning_rate 5e-4"},
               {"multilinear", "--learning_rate 5e-4 " + norm_by_multilinear},
               {"norm_attention", "--learning_rate 5e-4 " + norm}});
}

TEST_CASE("paper: Sudoku and the compositional tasks, by the reference's scripts") {
  check_paper("sudoku",
              "--trm true --num_blocks 2 --channel_dim 256 --num_heads 8 --mlp_ratio 4 "
              "--learning_rate 1e-4 --weight_decay 1 --batch_size 256 --trm_N_steps 5 --trm_n 2 --trm_T 1 "
              "--ema true --ema_decay 0.999",
              {{"transformer", ""}, {"flare", ""}});
  for (const char* task : {"function_composition", "binary_relation", "quotient_relation", "match3"})
    check_paper(task,
                "--num_blocks 1 --channel_dim 16 --num_heads 1 --batch_size 2500 --epochs 1000 --steps 0 "
                "--learning_rate 1e-3",
                {{"transformer", ""}, {"third_order", ""}});
}

TEST_CASE("lightweight: FLARE as FLARE++'s authors run it") {
  const std::string all =
      "--num_heads 8 --qk_norm true --num_layers_kv_proj -1 --num_layers_ffn 0 --attn_scale one "
      "--mask false ";
  const std::string wide = all + "--num_blocks 4 --channel_dim 128 ";
  check_preset("lightweight", "listops", "flare",
               wide + "--num_latents 64 --learning_rate 2e-4 --weight_decay 3e-5 --steps 10000 "
                      "--batch_size 32 --ffn_mlp_ratio 4 --attn_drop 0.05 --rmsnorm true");
  check_preset("lightweight", "image", "flare",
               all + "--num_blocks 3 --channel_dim 64 --num_latents 192 --learning_rate 1.5e-3 "
                     "--weight_decay 6e-2 --steps 20000 --ffn_mlp_ratio 2 --emb_drop 0.08 --cls_drop 0.08 "
                     "--attn_drop 0.08 --proj_drop 0.08 --mixed_precision false --seed 6");
  check_preset("lightweight", "retrieval", "flare",
               wide + "--num_latents 128 --learning_rate 5e-4 --weight_decay 1e-4 --steps 10000 "
                      "--ffn_mlp_ratio 4");
  check_preset("lightweight", "text", "flare",
               wide + "--pool cls --pos_embed rope --num_latents 128 --learning_rate 1.4e-5 "
                      "--weight_decay 3e-4 --steps 40000 --one_cycle_pct_start 0.2 --ffn_mlp_ratio 4 "
                      "--emb_drop 0.08 --cls_drop 0.08 --attn_drop 0.08 --proj_drop 0.02");
  check_preset("lightweight", "pathfinder32", "flare",
               wide + "--epochs 200 --steps 0 --num_latents 128 --learning_rate 4.5e-4 --weight_decay 5e-4 "
                      "--batch_size 32 --clip_grad_norm 0.5 --ema true --ema_decay 0.999 --emb_drop 0.11 "
                      "--cls_drop 0.11 --attn_drop 0.11 --proj_drop 0.11 --mixed_precision false "
                      "--ffn_mlp_ratio 1");
}

TEST_CASE("a flag of one's own goes before a preset, and a preset refuses what it does not know") {
  const std::string run = "--task listops --model_type flare --preset paper ";
  Settings own = settings_of(run + "--num_blocks 2"), paper = settings_of(run);
  CHECK(own.at("num_blocks") == "2");
  own.erase("num_blocks"), paper.erase("num_blocks");
  CHECK(own == paper);
  for (const char* unknown : {"--task listops --model_type transformer --preset lightweight",
                              "--task mta --model_type flare --preset paper",
                              "--task sudoku --model_type flare --preset lightweight"})
    CHECK_THROWS_WITH_AS(settings_of(unknown), doctest::Contains("has no settings for"), flr::Error);
}
