// Model fixtures: same weights, same input, same configuration → same output, loss and gradients.
#include <nlohmann/json.hpp>

#include "compare.hpp"
#include "flr/train/weights.hpp"

namespace {

using nlohmann::json;

std::optional<flr::Activation> activation(const json& config) {
  const json& act = config.at("act");
  if (act.is_null()) return {};
  if (act == "silu") return flr::Activation::silu;
  if (act == "gelu") return flr::Activation::gelu;
  flr::fail("[golden_check] unknown activation {}", act.dump());
}

flr::models::TransformerOptions transformer_options(const json& c) {
  flr::models::TransformerOptions o;
  o.c_in = c.at("c_in"), o.c_out = c.at("c_out"), o.channels = c.at("channel_dim");
  o.heads = c.at("num_heads"), o.blocks = c.at("num_blocks"), o.act = activation(c);
  o.rmsnorm = c.at("rmsnorm"), o.out_norm = c.at("out_proj_norm");
  o.in_out_layers = c.at("num_layers_in_out_proj"), o.mlp_ratio = c.at("mlp_ratio");
  return o;
}

template <class T>
std::unique_ptr<flr::models::Model<T>> make_model(const std::string& name, const json& c) {
  using namespace flr::models;
  if (name == "flare" || name == "flare_experimental") {
    FlareOptions o;
    o.c_in = c.at("c_in"), o.c_out = c.at("c_out"), o.channels = c.at("channel_dim");
    o.heads = c.at("num_heads"), o.latents = c.at("num_latents"), o.blocks = c.at("num_blocks");
    o.attn_scale = c.at("attn_scale"), o.act = activation(c);
    o.rmsnorm = c.at("rmsnorm"), o.qk_norm = c.at("qk_norm");
    o.in_out_layers = c.at("num_layers_in_out_proj"), o.out_norm = c.at("out_proj_norm");
    o.k_layers = c.at("num_layers_k_proj"), o.v_layers = c.at("num_layers_v_proj");
    o.k_ratio = c.at("k_proj_mlp_ratio"), o.v_ratio = c.at("v_proj_mlp_ratio");
    o.ffn_layers = c.at("num_layers_ffn"), o.ffn_ratio = c.at("ffn_mlp_ratio");
    return std::make_unique<Flare<T>>(o);
  }
  if (name == "flare_ablations") {
    FlareAblationsOptions o;
    o.c_in = c.at("c_in"), o.c_out = c.at("c_out"), o.channels = c.at("channel_dim");
    o.heads = c.at("num_heads"), o.latents = c.at("num_latents"), o.blocks = c.at("num_blocks");
    o.act = activation(c);
    o.kv_layers = c.at("num_layers_kv_proj"), o.ffn_layers = c.at("num_layers_mlp");
    o.in_out_layers = c.at("num_layers_in_out_proj");
    o.kv_ratio = c.at("kv_proj_ratio"), o.ffn_ratio = c.at("mlp_ratio");
    o.in_out_ratio = c.at("in_out_proj_ratio"), o.out_norm = c.at("out_proj_ln");
    o.shared_latents = c.at("shared_latents"), o.latent_blocks = c.at("num_latent_blocks");
    return std::make_unique<FlareAblations<T>>(o);
  }
  if (name == "transformer") return std::make_unique<Transformer<T>>(transformer_options(c));
  if (name == "linear" || name == "linformer") {
    const TransformerOptions o = transformer_options(c);
    if (name == "linear")
      return std::make_unique<MixerTransformer<T, flr::mixers::LinearAttention<T>>>(
          "linear", o, flr::mixers::LinearAttentionOptions{
                           .channels = o.channels, .heads = o.heads,
                           .kernel = flr::mixers::feature_map_named(c.at("kernel").get<std::string>()),
                           .norm_q = c.at("norm_q"), .norm_k = c.at("norm_k"), .legacy = true});
    return std::make_unique<MixerTransformer<T, flr::mixers::Linformer<T>>>(
        "linformer", o, flr::mixers::LinformerOptions{
                            .channels = o.channels, .heads = o.heads, .max_length = c.at("seq_len"),
                            .projected = c.at("k"), .legacy = true});
  }
  flr::fail("[golden_check] the model '{}' is not part of this version", name);
}

}  // namespace

template <class T>
Verdict check_model(const flr::data::SafeTensors& file) {
  const json config = json::parse(file.metadata.at("config"));
  auto model = make_model<T>(file.metadata.at("model"), config);
  flr::check(std::to_string(model->num_parameters()) == file.metadata.at("num_params"),
             "[golden_check] the model has {} parameters, the fixture {}", model->num_parameters(),
             file.metadata.at("num_params"));
  flr::data::SafeTensors weights;
  for (const auto& [name, array] : file.tensors)
    if (name.starts_with("param/")) weights.tensors[name.substr(6)] = array;
  flr::train::set_weights(*model, weights, "fixture");
  model->to(device);

  auto x = on_device<T>(file.at("in/x"));
  x.requires_grad(true);
  const auto y = (*model)(x);
  const auto loss = flr::relative_l2(y, on_device<T>(file.at("in/target")));
  flr::backward(loss);

  Comparison result(sizeof(T) == 8, norm_of_all(file, {"grad/", "grad_in/"}));
  result.add("out/y", y, file.at("out/y"));
  result.add("out/loss", loss, file.at("out/loss"));
  result.add("grad_in/x", x.grad(), file.at("grad_in/x"));
  for (const auto& p : model->parameters())
    result.add("grad/" + p.name, p.value.grad(), file.at("grad/" + p.name));
  return result.verdict;
}

template Verdict check_model<float>(const flr::data::SafeTensors&);
template Verdict check_model<double>(const flr::data::SafeTensors&);
