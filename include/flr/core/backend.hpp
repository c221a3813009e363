// The table of a backend: what a device can do, as typed function pointers. Operations in ops/ call
// these; nothing else knows which device it runs on.
#pragma once

#include <string>

#include "flr/core/causal_flare_params.hpp"
#include "flr/core/causal_linear_params.hpp"
#include "flr/core/device.hpp"
#include "flr/core/favor_params.hpp"
#include "flr/core/feed_forward_params.hpp"
#include "flr/core/linear_attention_params.hpp"
#include "flr/core/map_params.hpp"
#include "flr/core/norm_params.hpp"
#include "flr/core/outer_params.hpp"
#include "flr/core/params.hpp"
#include "flr/core/performer_params.hpp"

namespace flr {

template <class T>
struct Backend {
  using C = compute_t<T>;

  void (*fill)(T* x, index_t n, C value);
  void (*copy)(const CopyParams<T>&);
  void (*map)(const MapParams&);
  void (*reduce)(const ReduceParams<T>&);
  void (*gemm)(const GemmParams<T>&);
  void (*linear)(const LinearParams<T>&);
  void (*linear_backward)(const LinearBackwardParams<T>&);
  /// May decline: see supports_residual_mlp.
  void (*residual_mlp)(const ResidualMlpParams<T>&);
  void (*residual_mlp_backward)(const ResidualMlpBackwardParams<T>&);
  bool (*supports_residual_mlp)(const ResidualMlpParams<T>&, std::string* why);
  /// Whether residual_mlp_backward wants the pre-activations that forward stores; if not, it makes
  /// them again from x.
  bool mlp_saves_pre = false;
  /// The transformer's feed-forward layer; null where a backend has none, and may decline.
  bool (*supports_feed_forward)(const FeedForwardParams<T>&, std::string* why) = nullptr;
  void (*feed_forward)(const FeedForwardParams<T>&) = nullptr;
  void (*feed_forward_backward)(const FeedForwardBackwardParams<T>&) = nullptr;
  void (*norm)(const NormParams<T>&);
  void (*norm_backward)(const NormBackwardParams<T>&);
  void (*softmax)(const SoftmaxParams<T>&);
  void (*softmax_backward)(const SoftmaxBackwardParams<T>&);
  void (*sdpa)(const SdpaParams<T>&);
  void (*sdpa_backward)(const SdpaBackwardParams<T>&);
  /// Null where a backend has none: the operation takes its composition. May decline (null: never).
  bool (*supports_damped_ema)(const DampedEmaParams<T>&, std::string* why) = nullptr;
  void (*damped_ema)(const DampedEmaParams<T>&) = nullptr;
  void (*damped_ema_backward)(const DampedEmaBackwardParams<T>&) = nullptr;
  /// Causal linear attention; null where a backend has none, and may decline.
  bool (*supports_causal_linear)(const CausalLinearParams<T>&, std::string* why) = nullptr;
  void (*causal_linear)(const CausalLinearParams<T>&) = nullptr;
  void (*causal_linear_backward)(const CausalLinearBackwardParams<T>&) = nullptr;
  /// Causal FLARE; null where a backend has none, and may decline.
  bool (*supports_causal_flare)(const CausalFlareParams<T>&, std::string* why) = nullptr;
  void (*causal_flare)(const CausalFlareParams<T>&) = nullptr;
  void (*causal_flare_backward)(const CausalFlareBackwardParams<T>&) = nullptr;
  /// Linear attention without order; null where a backend has none, and may decline.
  bool (*supports_linear_attention)(const LinearAttentionParams<T>&, std::string* why) = nullptr;
  void (*linear_attention)(const LinearAttentionParams<T>&) = nullptr;
  void (*linear_attention_backward)(const LinearAttentionBackwardParams<T>&) = nullptr;
  /// FAVOR+ features; null where a backend has none, and may decline.
  bool (*supports_favor)(const FavorParams<T>&, std::string* why) = nullptr;
  void (*favor)(const FavorParams<T>&) = nullptr;
  void (*favor_backward)(const FavorBackwardParams<T>&) = nullptr;
  /// The performer's attention, features and all; null where a backend has none, and may decline.
  bool (*supports_performer)(const PerformerParams<T>&, std::string* why) = nullptr;
  void (*performer)(const PerformerParams<T>&) = nullptr;
  void (*performer_backward)(const PerformerBackwardParams<T>&) = nullptr;
  /// One backward pass for both of FLARE's hops; may decline (null: always), then it is two of sdpa's.
  bool (*supports_flare)(const FlareParams<T>&, std::string* why) = nullptr;
  void (*flare_backward)(const FlareBackwardParams<T>&) = nullptr;
  /// Outer products of token vectors, summed and read; may decline (null: always).
  bool (*supports_outer)(const OuterOperands<T>&, std::string* why) = nullptr;
  void (*outer_state)(const OuterStateParams<T>&) = nullptr;
  void (*outer_read)(const OuterReadParams<T>&) = nullptr;
  void (*embedding)(const EmbeddingParams<T>&);
  void (*embedding_backward)(const EmbeddingBackwardParams<T>&);
  void (*gather)(const GatherParams<T>&);
  void (*gather_backward)(const GatherBackwardParams<T>&);
  void (*cross_entropy)(const CrossEntropyParams<T>&);
  void (*cross_entropy_backward)(const CrossEntropyBackwardParams<T>&);
  void (*relative_loss)(const RelativeLossParams<T>&);
  void (*relative_loss_backward)(const RelativeLossBackwardParams<T>&);
  void (*random)(const RandomParams<T>&);
  void (*dropout)(const DropoutParams<T>&);
  void (*update)(const UpdateParams<T>&);
  /// *out = Σ g² over n elements, in a fixed order, in double; `out` lies on the device.
  void (*sum_squares)(const T* g, index_t n, double* out);
  /// shadow = decay · shadow + (1 − decay) · p.
  void (*ema)(T* shadow, const T* p, index_t n, double decay);
  /// Conversion between storage types.
  void (*to_f32)(const T* x, float* y, index_t n);
  void (*to_f64)(const T* x, double* y, index_t n);
  void (*to_bf16)(const T* x, bf16* y, index_t n);
  /// Keep-masks as factors, and back.
  void (*from_u8)(const std::uint8_t* x, T* y, index_t n);
  void (*to_u8)(const T* x, std::uint8_t* y, index_t n);
};

/// The CPU table. In the header-only form it is made here and now (cpu/table.hpp); in the compiled
/// form the library holds it for x86-64-v2, -v3 and -v4 and chooses when the program runs.
template <Floating T>
const Backend<T>& cpu_backend();

}  // namespace flr
