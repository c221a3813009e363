// Softmax attention whose weights are dropped in training (Vaswani et al. 2017, as PyTorch's
// scaled_dot_product_attention with dropout_p).
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// sdpa(q, k, v, options); in training with p > 0 each weight vanishes with probability p and the
/// others grow by 1/(1 − p). The fused kernels have no dropout, so the Nq×Nk weights are then made in
/// memory, and made again by backward instead of being kept.
template <Floating T>
Tensor<T> dropped_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                            const SdpaOptions<std::type_identity_t<T>>& options, double p,
                            bool training) {
  if (!training || p == 0) return sdpa(q, k, v, options);
  check(!options.causal && !options.bias.defined(),
        "[dropped_attention] expected attention without causal mask and bias");
  const double scale =
      options.scale ? *options.scale : 1 / std::sqrt(static_cast<double>(q.size(-1)));
  Tensor<T> hide;
  if (options.keep.defined())
    hide = reshape(map((_1 - 1.0) * 1e30, options.keep.template to<T>()),
                   {options.keep.size(0), 1, 1, options.keep.size(1)});
  return recompute(
      [scale, hide, p](const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& c) {
        const Tensor<T> s = matmul(a, transpose(b, -1, -2));
        const Tensor<T> scaled =
            hide.defined() ? map(_1 * scale + _2, s, hide) : map(_1 * scale, s);
        return matmul(dropout(softmax(scaled, -1), p), c);
      },
      q, k, v);
}

}  // namespace flr::mixers
