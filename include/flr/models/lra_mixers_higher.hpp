// How the mixers of higher order and MEGA are made for a model on token sequences; their names are
// in lra_mixers.hpp.
#pragma once

#include "flr/models/mixer_place.hpp"

namespace flr::models::detail {

/// These mixers drop none of their weights. The reference takes attn_drop for them and ignores it.
inline void check_attn_drop(const SequenceOptions& o, bool ignored) {
  check(o.attn_drop == 0 || ignored, "[lra] {} has no dropout of its weights; got attn_drop {}",
        o.mixer, o.attn_drop);
}

inline void check_qk_dim_ratio(const SequenceOptions& o) {
  check(o.legacy || o.qk_dim_ratio == 1,
        "[lra] queries and keys of {} are as wide as values; got qk_dim_ratio {} (legacy ignores it, "
        "as the reference does)",
        o.mixer, o.qk_dim_ratio);
}

/// What the mixers of products of states have in common.
template <class Options>
Options projected_options(const SequenceOptions& o) {
  check_qk_dim_ratio(o);
  check_attn_drop(o, o.legacy);
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
  check_attn_drop(o, o.legacy);
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
  check_attn_drop(o, o.legacy);
  return mixer_layer<T, mixers::Triple1<T>>(
      mixers::Triple1Options{o.channels, o.heads, o.norm(), o.proj_drop});
}

template <Floating T>
std::unique_ptr<TokenLayer<T>> make_third_order(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  const bool strassen = o.third_order_method == "strassen";
  check(strassen || o.third_order_method == "third_order",
        "[lra] expected third_order_method third_order or strassen, got {}", o.third_order_method);
  check_attn_drop(o, o.legacy && !strassen);
  return mixer_layer<T, mixers::ThirdOrder<T>>(mixers::ThirdOrderOptions{
      .channels = o.channels,
      .heads = o.heads,
      .score = strassen ? mixers::PairScore::strassen : mixers::PairScore::third_order,
      .drop = o.proj_drop,
      .legacy = o.legacy});
}

/// MEGA; legacy is the reference's layer of that name. Neither has dropout behind it.
template <Floating T>
std::unique_ptr<TokenLayer<T>> make_ema(const MixerPlace<T>& at) {
  const SequenceOptions& o = at.options;
  if (o.legacy)
    return mixer_layer<T, mixers::EmaAttention<T>>(
        mixers::EmaAttentionOptions{.channels = o.channels, .attn_drop = o.attn_drop});
  check_attn_drop(o, false);
  return mixer_layer<T, mixers::Mega<T>>(
      mixers::MegaOptions{.channels = o.channels, .max_length = o.positions_needed()});
}

}  // namespace flr::models::detail
