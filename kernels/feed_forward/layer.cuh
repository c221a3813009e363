// What both directions of the feed-forward layer share: the registers of a warp, tiles of attention's
// kernels, of which either side can be summed over (tensor_tile.cuh), and which kernels there are.
#pragma once

#include "common/activation.cuh"
#include "feed_forward/problem.hpp"
#include "sdpa/tensor_tile.cuh"

namespace flr::cuda::feed_forward {

namespace tensor = attention::tensor;

/// Sixteen rows of the 16-bit operands of products, and of C float sums.
template <int C>
using Operand = tensor::Operand<bf16, C>;
template <int C>
using Sums = tensor::Sums<C>;
using Slice = std::uint32_t[4];

/// Whether the GPU is one for which there may be wgmma code.
inline bool on_hopper() {
  return compute_capability() / 10 == 9;
}

/// Calls f.template operator()<C, A>() for the widths and activations that have kernels.
template <class F>
bool with_kernel(index_t channels, Activation act, F f) {
  const auto with_act = [&]<int C>() {
    switch (act) {
      case Activation::gelu: f.template operator()<C, Activation::gelu>(); return true;
      case Activation::gelu_tanh: f.template operator()<C, Activation::gelu_tanh>(); return true;
      case Activation::relu: f.template operator()<C, Activation::relu>(); return true;
      default: return false;
    }
  };
  if (channels == 64) return with_act.template operator()<64>();
  if (channels == 128) return with_act.template operator()<128>();
  return false;
}

}  // namespace flr::cuda::feed_forward
