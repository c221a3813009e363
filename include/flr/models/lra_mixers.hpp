// The mixers of the Long Range Arena models, by name. A new one is one line of lra_mixers().
#pragma once

#include <functional>

#include "flr/models/lra_mixers_higher.hpp"

namespace flr::models {

template <Floating T>
using MakeLayer = std::function<std::unique_ptr<TokenLayer<T>>(const MixerPlace<T>&)>;

template <Floating T>
using MakeLuna = std::function<std::unique_ptr<mixers::Luna<T>>(const MixerPlace<T>&)>;

template <Floating T>
struct NamedMixer {
  const char* name;
  MakeLayer<T> mixer;
  MakeLayer<T> ffn;       ///< the feed-forward layer of its blocks
  bool takes_rotary = false;
  /// In place of `mixer` where packed tokens go from block to block beside the others.
  MakeLuna<T> packed = {};
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
  return mixer_layer<T, mixers::Linformer<T>>(
      mixers::LinformerOptions{.channels = o.channels, .heads = o.heads,
                               .max_length = o.positions_needed(), .projected = o.linformer_k,
                               .drop = o.proj_drop, .attn_drop = o.attn_drop, .legacy = o.legacy},
      at.rotary);
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_linear(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  check_attn_drop(o, o.legacy);
  check_qk_dim_ratio(o);
  return mixer_layer<T, mixers::LinearAttention<T>>(
      mixers::LinearAttentionOptions{.channels = o.channels, .heads = o.heads,
                                     .kernel = mixers::feature_map_named(o.kernel),
                                     .norm_q = o.norm_q, .norm_k = o.norm_k, .drop = o.proj_drop,
                                     .legacy = o.legacy},
      at.rotary);
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_performer(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  check_attn_drop(o, o.legacy);
  return mixer_layer<T, mixers::Performer<T>>(
      mixers::PerformerOptions{.channels = o.channels, .heads = o.heads,
                               .features = o.performer_features,
                               .redraw_interval = o.performer_redraw_interval,
                               .favor = {.normalize_inputs = o.performer_normalize_inputs,
                                         .legacy = o.legacy},
                               .drop = o.proj_drop},
      at.rotary);
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_cosformer(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  check_attn_drop(o, o.legacy);
  return mixer_layer<T, mixers::Cosformer<T>>(
      mixers::CosformerOptions{.channels = o.channels, .heads = o.heads, .drop = o.proj_drop});
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_linear_no(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  check_attn_drop(o, o.legacy);
  return mixer_layer<T, mixers::LinearNo<T>>(mixers::LinearNoOptions{
      .channels = o.channels, .heads = o.heads, .norm = o.norm(), .drop = o.proj_drop});
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_flare_plus_plus(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  check(o.proj_drop == 0 && o.attn_drop == 0,
        "[lra] flare_plus_plus has no dropout; got attn_drop {} and proj_drop {}", o.attn_drop,
        o.proj_drop);
  return mixer_layer<T, mixers::FlarePlusPlus<T>>(mixers::FlarePlusPlusOptions{
      .channels = o.channels, .heads = o.heads, .latents = o.latents, .norm = o.norm()});
}

template <Floating T>
std::unique_ptr<mixers::Luna<T>> make_luna(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  check(o.proj_drop == 0 && o.attn_drop == 0,
        "[lra] luna has no dropout; got attn_drop {} and proj_drop {}", o.attn_drop, o.proj_drop);
  return std::make_unique<mixers::Luna<T>>(
      mixers::LunaOptions{.channels = o.channels, .heads = o.heads, .latents = o.latents,
                          .qk_norm = o.qk_norm, .norm = o.norm()});
}

}  // namespace detail

/// All mixers. `linear` is Katharopoulos's attention with a feature map by name.
template <Floating T>
const std::vector<NamedMixer<T>>& lra_mixers() {
  static const std::vector<NamedMixer<T>> list{
      {"transformer", detail::make_softmax<T>, transformer_ffn<T>, true},
      {"flare", detail::make_flare<T>, residual_ffn<T>, true},
      {"linformer", detail::make_linformer<T>, transformer_ffn<T>, true},
      {"linear", detail::make_linear<T>, transformer_ffn<T>, true},
      {"performer", detail::make_performer<T>, transformer_ffn<T>, true},
      {"cosformer", detail::make_cosformer<T>, transformer_ffn<T>},
      {"linear_no", detail::make_linear_no<T>, transformer_ffn<T>},
      {"flare_plus_plus", detail::make_flare_plus_plus<T>, residual_ffn<T>},
      {"multilinear", detail::make_multilinear<T>, residual_ffn<T>},
      {"norm_attention", detail::make_norm_attention<T>, residual_ffn<T>},
      {"strassen", detail::make_strassen<T>, residual_ffn<T>},
      {"triple", detail::make_projected<T, mixers::Triple<T>>, residual_ffn<T>},
      {"triple1", detail::make_triple1<T>, transformer_ffn<T>},
      {"quad", detail::make_projected<T, mixers::Quad<T>>, residual_ffn<T>},
      {"third_order", detail::make_third_order<T>, transformer_ffn<T>},
      {"ema", detail::make_ema<T>, transformer_ffn<T>},
      {"luna", {}, transformer_ffn<T>, false, detail::make_luna<T>},
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

#ifdef FLR_COMPILED_MODELS
// The compiled form holds all mixers (lra_float.cpp, lra_double.cpp): a program that names them compiles
// none of them again.
extern template const std::vector<NamedMixer<float>>& lra_mixers<float>();
extern template const std::vector<NamedMixer<double>>& lra_mixers<double>();
extern template const NamedMixer<float>& lra_mixer<float>(const std::string&);
extern template const NamedMixer<double>& lra_mixer<double>(const std::string&);
#endif

}  // namespace flr::models
