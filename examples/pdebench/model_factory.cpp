#include "model_factory.hpp"

#include <cmath>

#include "flr/models/flare.hpp"
#include "flr/models/flare_ablations.hpp"
#include "flr/models/transformer.hpp"

namespace pdebench {

using namespace flr;

namespace {

std::optional<Activation> activation(const std::string& name) {
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_tanh") return Activation::gelu_tanh;
  if (name == "silu") return Activation::silu;
  if (name == "relu") return Activation::relu;
  if (name == "tanh") return Activation::tanh;
  return {};
}

// What the options of all models have in common, under one set of names.
template <class ModelOptions>
ModelOptions common(const Options& o, index_t c_in, index_t c_out) {
  ModelOptions m;
  m.c_in = c_in, m.c_out = c_out;
  m.channels = o.channel_dim, m.heads = o.num_heads;
  m.blocks = static_cast<int>(o.num_blocks);
  m.act = activation(o.act);
  m.in_out_layers = static_cast<int>(o.num_layers_in_out_proj);
  m.in_out_ratio = o.in_out_proj_ratio;
  m.out_norm = o.out_proj_norm;
  return m;
}

}  // namespace

std::unique_ptr<models::Model<float>> make_model(const Options& o, index_t c_in, index_t c_out) {
  if (o.model_type == "transformer") {
    auto m = common<models::TransformerOptions>(o, c_in, c_out);
    m.rmsnorm = o.rmsnorm;
    m.mlp_ratio = o.mlp_ratio;
    return std::make_unique<models::Transformer<float>>(m);
  }
  if (o.model_type == "flare_ablations") {
    auto m = common<models::FlareAblationsOptions>(o, c_in, c_out);
    m.latents = o.num_latents;
    m.kv_layers = static_cast<int>(o.num_layers_kv_proj), m.kv_ratio = o.kv_proj_mlp_ratio;
    m.ffn_layers = static_cast<int>(o.num_layers_ffn), m.ffn_ratio = o.ffn_mlp_ratio;
    m.shared_latents = o.shared_latents;
    m.latent_blocks = static_cast<int>(o.num_latent_blocks);
    return std::make_unique<models::FlareAblations<float>>(m);
  }
  auto m = common<models::FlareOptions>(o, c_in, c_out);
  m.latents = o.num_latents;
  if (o.attn_scale == "sqrt")
    m.attn_scale = 1 / std::sqrt(static_cast<double>(o.channel_dim / o.num_heads));
  m.rmsnorm = o.rmsnorm, m.qk_norm = o.qk_norm;
  m.k_layers = static_cast<int>(o.num_layers_k_proj), m.k_ratio = o.k_proj_mlp_ratio;
  m.v_layers = static_cast<int>(o.num_layers_v_proj), m.v_ratio = o.v_proj_mlp_ratio;
  m.ffn_layers = static_cast<int>(o.num_layers_ffn), m.ffn_ratio = o.ffn_mlp_ratio;
  return std::make_unique<models::Flare<float>>(m);
}

}  // namespace pdebench
