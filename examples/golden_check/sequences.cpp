// Fixtures of models on token sequences (task lra), recursive ones (trm:…) too.
#include <nlohmann/json.hpp>

#include "compare.hpp"
#include "flr/train/weights.hpp"

namespace {

using nlohmann::json;
using namespace flr::models;

/// A key that only some models' configurations have.
template <class V>
void take(const json& config, const char* key, V& value) {
  if (config.contains(key) && !config.at(key).is_null()) value = config.at(key).get<V>();
}

Answer answer_of(const std::string& task) {
  for (const char* each : {"sudoku", "match2", "match3", "binary_relation_composition",
                           "quotient_binary_relation_composition"})
    if (task == each) return Answer::token;
  return task == "retrieval" ? Answer::pair : Answer::sequence;
}

SequenceOptions options_of(const json& c) {
  SequenceOptions o;
  const std::string task = c.at("task"), pool = c.at("pool"), positions = c.at("pos_embed");
  o.legacy = true;
  o.vocabulary = c.at("vocab_size"), o.labels = c.at("num_labels"), o.max_length = c.at("max_length");
  o.answer = answer_of(task);
  for (const char* each : {"image", "pathfinder32", "pathfinder128", "text"})
    o.mlp_head = o.mlp_head || task == each;
  o.pool = pool == "cls" ? Pooling::cls : pool == "max" ? Pooling::max : Pooling::mean;
  o.positions = positions == "rope"  ? Positions::rotary
                : positions == "sin" ? Positions::sinusoid
                                     : Positions::learned;
  take(c, "pad_id", o.padding);
  take(c, "emb_drop", o.emb_drop), take(c, "cls_drop", o.cls_drop);
  o.blocks = c.at("num_blocks"), o.channels = c.at("channel_dim"), o.heads = c.at("num_heads");
  if (!c.at("act").is_null()) o.act = flr::Activation::silu;
  o.rmsnorm = c.at("rmsnorm");

  o.mixer = c.at("model_type");
  if (o.mixer.starts_with("trm:")) o.mixer.erase(0, 4);
  take(c, "mlp_ratio", o.mlp_ratio);
  take(c, "num_latents", o.latents), take(c, "attn_scale", o.attn_scale);
  take(c, "num_layers_kv_proj", o.kv_layers), take(c, "num_layers_ffn", o.ffn_layers);
  take(c, "ffn_mlp_ratio", o.ffn_ratio), take(c, "kv_proj_mlp_ratio", o.kv_ratio);
  const auto ratio = [&](const char* key, double& value) {
    if (c.contains(key)) value = c.at(key).get<double>() / static_cast<double>(o.channels);
  };
  ratio("kv_proj_hidden_dim", o.kv_ratio), ratio("ffn_hidden_dim", o.ffn_ratio);
  take(c, "k", o.linformer_k), take(c, "kernel", o.kernel);
  take(c, "norm_q", o.norm_q), take(c, "norm_k", o.norm_k), take(c, "qk_dim_ratio", o.qk_dim_ratio);
  take(c, "nb_features", o.performer_features);
  take(c, "redraw_interval", o.performer_redraw_interval);
  take(c, "normalize_inputs", o.performer_normalize_inputs);
  take(c, "num_states", o.num_states), take(c, "third_order_method", o.third_order_method);
  return o;
}

template <class T>
std::unique_ptr<SequenceModel<T>> make_model(const std::string& name, const json& c) {
  const SequenceOptions o = options_of(c);
  if (!name.starts_with("trm:")) return std::make_unique<Lra<T>>(o);
  return std::make_unique<Trm<T>>(
      o, TrmOptions{c.at("trm_N_steps"), c.at("trm_n"), c.at("trm_T")});
}

/// Weights, and the buffers that a fixture brings along (tables are rounded to float there).
template <class T>
void set_parameters(flr::nn::Module<T>& model, const flr::data::SafeTensors& file) {
  flr::data::SafeTensors weights;
  for (const auto& [name, array] : file.tensors)
    if (name.starts_with("param/")) weights.tensors[name.substr(6)] = array;
  for (auto& buffer : model.buffers()) {
    const std::string name = "buffer/" + buffer.name;
    if (buffer.saved) weights.tensors[buffer.name] = file.at(name);
    else if (file.contains(name)) buffer.value.copy_(flr::data::to_tensor<T>(file.at(name)));
  }
  flr::train::set_weights(model, weights, "fixture");
}

}  // namespace

template <class T>
Verdict check_sequence_model(const flr::data::SafeTensors& file) {
  const json config = json::parse(file.metadata.at("config"));
  const auto model = make_model<T>(file.metadata.at("model"), config);
  flr::check(std::to_string(model->num_parameters()) == file.metadata.at("num_params"),
             "[golden_check] the model has {} parameters, the fixture {}", model->num_parameters(),
             file.metadata.at("num_params"));
  set_parameters(*model, file);
  model->to(device);

  flr::Tensor<std::uint8_t> keep;
  if (file.contains("in/attention_mask")) keep = on_device<std::uint8_t>(file.at("in/attention_mask"));
  const auto y = (*model)(on_device<flr::index_t>(file.at("in/input_ids")), keep);
  const auto labels = flr::data::to_tensor<flr::index_t>(file.at("in/labels"));
  const auto loss =
      y.size(-1) > 1
          ? flr::cross_entropy(y, labels.to(device))
          : flr::bce_with_logits(flr::squeeze(y, -1), labels.template to<T>().to(device));
  flr::backward(loss);

  // Linear attention without a feature map divides by sums that change sign; where one is near 0, what
  // rounding does to keys and queries is multiplied. In float the same program differs by 3e-5 to
  // 1.5e-4 from one instruction set to the next.
  const bool signed_weights = file.metadata.at("model") == "linear" && config.value("kernel", "") == "identity";
  Comparison result(sizeof(T) == 8, norm_of_all(file, {"grad/"}), signed_weights ? 10 : 1);
  result.add("out/y", y, file.at("out/y"));
  result.add("out/loss", loss, file.at("out/loss"));
  for (const auto& p : model->parameters()) {
    const std::string name = "grad/" + p.name;
    if (file.contains(name)) result.add(name, p.value.grad(), file.at(name));
    else
      for (T g : p.value.grad().to_vector())  // what the loss does not depend on
        flr::check(g == 0, "[golden_check] '{}' has a gradient, the fixture has none", p.name);
  }
  return result.verdict;
}

template Verdict check_sequence_model<float>(const flr::data::SafeTensors&);
template Verdict check_sequence_model<double>(const flr::data::SafeTensors&);
