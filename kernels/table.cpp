// The CUDA table, for each scalar type.
#include "table.hpp"

#include "runtime.hpp"

namespace flr::cuda {

template <class T>
const Backend<T>& table() {
  static const Backend<T> entries{
      .fill = fill<T>,
      .copy = copy<T>,
      .map = map<T>,
      .reduce = reduce<T>,
      .gemm = gemm<T>,
      .linear = linear<T>,
      .linear_backward = linear_backward<T>,
      .residual_mlp = residual_mlp<T>,
      .residual_mlp_backward = residual_mlp_backward<T>,
      .supports_residual_mlp = supports_residual_mlp<T>,
      .supports_feed_forward = supports_feed_forward<T>,
      .feed_forward = feed_forward<T>,
      .feed_forward_backward = feed_forward_backward<T>,
      .norm = norm<T>,
      .norm_backward = norm_backward<T>,
      .softmax = softmax<T>,
      .softmax_backward = softmax_backward<T>,
      .sdpa = sdpa<T>,
      .sdpa_backward = sdpa_backward<T>,
      .supports_damped_ema = supports_damped_ema<T>,
      .damped_ema = damped_ema<T>,
      .damped_ema_backward = damped_ema_backward<T>,
      .supports_causal_linear = supports_causal_linear<T>,
      .causal_linear = causal_linear<T>,
      .causal_linear_backward = causal_linear_backward<T>,
      .supports_causal_flare = supports_causal_flare<T>,
      .causal_flare = causal_flare<T>,
      .causal_flare_backward = causal_flare_backward<T>,
      .supports_linear_attention = supports_linear_attention<T>,
      .linear_attention = linear_attention<T>,
      .linear_attention_backward = linear_attention_backward<T>,
      .supports_favor = supports_favor<T>,
      .favor = favor<T>,
      .favor_backward = favor_backward<T>,
      .supports_performer = supports_performer<T>,
      .performer = performer<T>,
      .performer_backward = performer_backward<T>,
      .supports_flare = supports_flare<T>,
      .flare_backward = flare_backward<T>,
      .supports_outer = supports_outer<T>,
      .outer_state = outer_state<T>,
      .outer_read = outer_read<T>,
      .embedding = embedding<T>,
      .embedding_backward = embedding_backward<T>,
      .gather = gather<T>,
      .gather_backward = gather_backward<T>,
      .cross_entropy = cross_entropy<T>,
      .cross_entropy_backward = cross_entropy_backward<T>,
      .relative_loss = relative_loss<T>,
      .relative_loss_backward = relative_loss_backward<T>,
      .random = random<T>,
      .dropout = dropout<T>,
      .update = update<T>,
      .sum_squares = sum_squares<T>,
      .ema = ema<T>,
      .to_f32 = to_f32<T>,
      .to_f64 = to_f64<T>,
      .to_bf16 = to_bf16<T>,
      .from_u8 = from_u8<T>,
      .to_u8 = to_u8<T>,
  };
  return entries;
}

template const Backend<float>& table<float>();
template const Backend<double>& table<double>();
template const Backend<bf16>& table<bf16>();

}  // namespace flr::cuda
