// The mixers of the Long Range Arena models, by name. A new one is one line of lra_mixers().
#pragma once

#include <functional>

#include "flr/models/sequence_options.hpp"
#include "flr/models/token_layer.hpp"

namespace flr::models {

/// Where a mixer stands in its model.
template <Floating T>
struct MixerPlace {
  const SequenceOptions& options;
  int block = 0;
  const nn::Rotary<T>* rotary = nullptr;  ///< the model's, with Positions::rotary
};

template <Floating T>
using MakeLayer = std::function<std::unique_ptr<TokenLayer<T>>(const MixerPlace<T>&)>;

template <Floating T>
struct NamedMixer {
  const char* name;
  MakeLayer<T> mixer;
  MakeLayer<T> ffn;       ///< the feed-forward layer of its blocks
  bool takes_rotary = false;
};

/// The transformer's MLP C → mlp_ratio·C → C, exact GELU if no activation is given.
template <Floating T>
std::unique_ptr<TokenLayer<T>> transformer_ffn(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  return pointwise_layer<T, nn::MLP<T>>(o.channels, o.hidden(o.mlp_ratio), o.channels,
                                        o.act.value_or(Activation::gelu), o.proj_drop);
}

/// FLARE's residual MLP of ffn_layers and ffn_ratio, tanh-GELU if no activation is given.
template <Floating T>
std::unique_ptr<TokenLayer<T>> residual_ffn(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  return pointwise_layer<T, nn::ResidualMLP<T>>(
      o.channels, o.hidden(o.ffn_ratio), o.channels, o.ffn_layers,
      ResidualMlpOptions{true, true, o.act.value_or(Activation::gelu_tanh)});
}

namespace detail {

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_softmax(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  return mixer_layer<T, mixers::SelfAttention<T>>(
      o.channels, o.heads, mixers::SelfAttentionOptions{o.proj_drop, o.attn_drop}, at.rotary);
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_flare(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  mixers::FlareOptions f;
  f.channels = o.channels, f.heads = o.heads, f.latents = o.latents, f.scale = o.attn_scale;
  f.k_layers = f.v_layers = o.kv_layers, f.k_ratio = f.v_ratio = o.kv_ratio;
  f.act = o.act.value_or(Activation::gelu_tanh);
  f.qk_norm = o.qk_norm, f.norm = o.norm();
  f.drop = o.proj_drop, f.attn_drop = o.attn_drop, f.legacy = o.legacy;
  return mixer_layer<T, mixers::Flare<T>>(f, at.rotary);
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_linformer(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  return mixer_layer<T, mixers::Linformer<T>>(mixers::LinformerOptions{
      .channels = o.channels, .heads = o.heads, .max_length = o.positions_needed(),
      .projected = o.linformer_k, .drop = o.proj_drop, .legacy = o.legacy});
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_linear(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  return mixer_layer<T, mixers::LinearAttention<T>>(mixers::LinearAttentionOptions{
      .channels = o.channels, .heads = o.heads, .kernel = mixers::feature_map_named(o.kernel),
      .norm_q = o.norm_q, .norm_k = o.norm_k, .drop = o.proj_drop, .legacy = o.legacy});
}

/// What the mixers of products of states have in common.
template <class Options>
Options projected_options(const SequenceOptions& o) {
  check(o.legacy || o.qk_dim_ratio == 1,
        "[lra] queries and keys of {} are as wide as values; got qk_dim_ratio {} (legacy ignores it, "
        "as the reference does)", o.mixer, o.qk_dim_ratio);
  Options p;
  p.channels = o.channels, p.heads = o.heads;
  p.layers = o.kv_layers, p.ratio = o.legacy ? 1 : o.kv_ratio;  // ignored by the reference
  p.act = o.act.value_or(Activation::gelu_tanh);
  p.kernel = mixers::feature_map_named(o.kernel);
  p.norm_q = o.norm_q, p.norm_k = o.norm_k;
  p.norm = o.norm(), p.drop = o.proj_drop;
  return p;
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_multilinear(const MixerPlace<T>& at) {
  auto p = projected_options<mixers::MultilinearOptions>(at.options);
  p.states = static_cast<int>(at.options.num_states);
  return mixer_layer<T, mixers::Multilinear<T>>(p);
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_norm_attention(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  return mixer_layer<T, mixers::NormAttention<T>>(
      mixers::NormAttentionOptions{o.channels, o.heads, o.proj_drop, o.legacy});
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_strassen(const MixerPlace<T>& at) {
  auto p = projected_options<mixers::StrassenLinearOptions>(at.options);
  p.legacy = at.options.legacy;
  return mixer_layer<T, mixers::StrassenLinear<T>>(p);
}

template <Floating T, class Mixer>
std::unique_ptr<TokenLayer<T>> make_projected(const MixerPlace<T>& at) {
  return mixer_layer<T, Mixer>(projected_options<mixers::ProjectedOptions>(at.options));
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_triple1(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  return mixer_layer<T, mixers::Triple1<T>>(
      mixers::Triple1Options{o.channels, o.heads, o.norm(), o.proj_drop});
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_third_order(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  const bool strassen = o.third_order_method == "strassen";
  check(strassen || o.third_order_method == "third_order",
        "[lra] expected third_order_method third_order or strassen, got {}", o.third_order_method);
  return mixer_layer<T, mixers::ThirdOrder<T>>(mixers::ThirdOrderOptions{
      .channels = o.channels, .heads = o.heads,
      .score = strassen ? mixers::PairScore::strassen : mixers::PairScore::third_order,
      .drop = o.proj_drop, .legacy = o.legacy});
}

/// MEGA; legacy is the reference's layer of that name.
template <Floating T>
std::unique_ptr<TokenLayer<T>> make_ema(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  if (o.legacy) return mixer_layer<T, mixers::EmaAttention<T>>(o.channels);
  return mixer_layer<T, mixers::Mega<T>>(
      mixers::MegaOptions{.channels = o.channels, .max_length = o.positions_needed()});
}

}  // namespace detail

/// All mixers. `linear` is Katharopoulos's attention with a feature map by name.
template <Floating T>
const std::vector<NamedMixer<T>>& lra_mixers() {
  static const std::vector<NamedMixer<T>> list{
      {"transformer", detail::make_softmax<T>, transformer_ffn<T>, true},
      {"flare", detail::make_flare<T>, residual_ffn<T>, true},
      {"linformer", detail::make_linformer<T>, transformer_ffn<T>},
      {"linear", detail::make_linear<T>, transformer_ffn<T>},
      {"multilinear", detail::make_multilinear<T>, residual_ffn<T>},
      {"norm_attention", detail::make_norm_attention<T>, residual_ffn<T>},
      {"strassen", detail::make_strassen<T>, residual_ffn<T>},
      {"triple", detail::make_projected<T, mixers::Triple<T>>, residual_ffn<T>},
      {"triple1", detail::make_triple1<T>, transformer_ffn<T>},
      {"quad", detail::make_projected<T, mixers::Quad<T>>, residual_ffn<T>},
      {"third_order", detail::make_third_order<T>, transformer_ffn<T>},
      {"ema", detail::make_ema<T>, transformer_ffn<T>},
  };
  return list;
}

/// The mixer of a name; an error lists the names.
template <Floating T>
const NamedMixer<T>& lra_mixer(const std::string& name) {
  std::string names;
  for (const NamedMixer<T>& m : lra_mixers<T>()) {
    if (m.name == name) return m;
    names += (names.empty() ? "" : ", ") + std::string(m.name);
  }
  fail("[lra] there is no mixer '{}'; expected one of {}", name, names);
}

}  // namespace flr::models
