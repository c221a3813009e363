#include "model_factory.hpp"

#include "flr/models/lra.hpp"
#include "flr/models/trm.hpp"
#include "flr/train/weights.hpp"
#include "machine.hpp"
#include "values.hpp"

namespace lra {

using namespace flr;
using models::SequenceOptions;

namespace {

std::optional<Activation> activation(const std::string& name) {
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_tanh") return Activation::gelu_tanh;
  if (name == "silu") return Activation::silu;
  if (name == "relu") return Activation::relu;
  if (name == "tanh") return Activation::tanh;
  return {};
}

SequenceOptions sequence_options(const Options& o, const data::SequenceTask& task) {
  const data::SequenceSet& set = task.train;
  SequenceOptions s;
  s.vocabulary = set.vocabulary, s.max_length = set.length();
  s.labels = set.classes == 2 ? 1 : set.classes;
  s.answer = set.token_labels ? models::Answer::token
             : set.paired()   ? models::Answer::pair
                              : models::Answer::sequence;
  // The reference's choice of tasks that have a hidden layer in the head.
  s.mlp_head = program::among(o.task, {"image", "pathfinder32", "pathfinder128", "text"});
  s.pool = o.pool == "cls"   ? models::Pooling::cls
           : o.pool == "max" ? models::Pooling::max
                             : models::Pooling::mean;
  // Padding that a model sees, as in the reference, is a word like any other.
  s.padding = o.mask && data::has_padding(task) ? set.pad : -1;
  s.positions = o.pos_embed == "rope"  ? models::Positions::rotary
                : o.pos_embed == "sin" ? models::Positions::sinusoid
                                       : models::Positions::learned;
  s.emb_drop = o.emb_drop, s.cls_drop = o.cls_drop;
  s.attn_drop = o.attn_drop, s.proj_drop = o.proj_drop;
  s.blocks = static_cast<int>(o.num_blocks);
  s.channels = o.channel_dim, s.heads = o.num_heads;
  s.act = activation(o.act), s.rmsnorm = o.rmsnorm;
  s.mixer = o.model_type, s.mlp_ratio = o.mlp_ratio;
  s.latents = o.num_latents, s.qk_norm = o.qk_norm;
  if (o.attn_scale == "sqrt")
    s.attn_scale = 1 / std::sqrt(static_cast<double>(o.channel_dim / o.num_heads));
  s.kv_layers = static_cast<int>(o.num_layers_kv_proj), s.kv_ratio = o.kv_proj_mlp_ratio;
  s.ffn_layers = static_cast<int>(o.num_layers_ffn), s.ffn_ratio = o.ffn_mlp_ratio;
  s.linformer_k = o.linformer_k, s.kernel = o.kernel;
  s.norm_q = o.norm_q, s.norm_k = o.norm_k, s.qk_dim_ratio = o.qk_dim_ratio;
  s.performer_features = o.performer_nb_features;
  s.performer_redraw_interval = o.performer_redraw_interval;
  s.performer_normalize_inputs = o.performer_normalize_inputs;
  s.num_states = o.num_states, s.third_order_method = o.third_order_method;
  s.legacy = o.legacy;
  return s;
}

}  // namespace

std::unique_ptr<models::SequenceModel<float>> make_model(const Options& o,
                                                         const data::SequenceTask& task) {
  const SequenceOptions s = sequence_options(o, task);
  if (!o.trm) return std::make_unique<models::Lra<float>>(s);
  return std::make_unique<models::Trm<float>>(
      s, models::TrmOptions{static_cast<int>(o.trm_N_steps), static_cast<int>(o.trm_n),
                            static_cast<int>(o.trm_T)});
}

std::unique_ptr<models::SequenceModel<float>> load_model(const Options& o,
                                                         const data::SequenceTask& task,
                                                         const std::filesystem::path& checkpoint,
                                                         const std::string& weights) {
  auto model = make_model(o, task);
  train::load_weights(checkpoint / (weights == "ema" ? "ema.safetensors" : "model.safetensors"),
                      *model);
  program::place_model(o, *model);
  return model;
}

}  // namespace lra
