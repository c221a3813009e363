// The tensor-core attention path, one file each: bf16 and tf32, any number of queries and keys,
// causal and key masks, shared operands. What it declines goes to the general kernels.
#pragma once

#include "general.hpp"
#include "plan.hpp"

namespace flr::cuda::attention::tensor {

/// The largest head dimension: two tiles of keys and two of values must fit in shared memory.
template <class T>
inline constexpr index_t deepest = std::is_same_v<T, float> ? 64 : 128;

/// Why a call is declined; empty if it is taken. Taken are: bf16, and float where products may be of
/// tf32 (matmul_precision()); head dimensions of whole 16 bytes up to `deepest`; no bias; scale > 0;
/// pointers and strides of 16 bytes.
template <class T>
std::string declines(const SdpaParams<T>& p);  // tensor_accept.cu
template <class T>
std::string declines(const SdpaBackwardParams<T>& p);

/// Forward; the number of splits of the keys.
template <class T>
index_t forward(const SdpaParams<T>& p);  // tensor_forward.cu
/// dq; the number of splits of the keys.
template <class T>
index_t query_gradient(const SdpaBackwardParams<T>& p,
                       const QueryStatistics<T>* statistics);  // tensor_backward_query.cu
/// dk and dv; the number of splits of the queries.
template <class T>
index_t key_gradients(const SdpaBackwardParams<T>& p,
                      const QueryStatistics<T>* statistics);  // tensor_backward_key.cu

/// All three gradients in one pass over the scores (tensor_backward_fused.cu): bf16, up to 32 channels
/// and some thousands of keys, without causal mask, and heads enough for the chip.
bool fused_backward_takes(const SdpaBackwardParams<bf16>& p);
void fused_backward(const SdpaBackwardParams<bf16>& p, const QueryStatistics<bf16>* statistics);

/// Calls f.template operator()<Depth>() with the power of two that holds `depth` channels.
template <class T, class F>
void with_depth(index_t depth, F&& f) {
  if (depth <= 8) return f.template operator()<8>();
  if (depth <= 16) return f.template operator()<16>();
  if (depth <= 32) return f.template operator()<32>();
  if constexpr (deepest<T> > 64)
    if (depth > 64) return f.template operator()<128>();
  return f.template operator()<64>();
}

/// A thousand rows take a block about as long as one more launch does. Sums on tensor cores are far
/// more exact than their terms: nothing is split for accuracy's sake.
inline constexpr SplitRule split_rule{.least = 1024, .accurate = index_t{1} << 40};

}  // namespace flr::cuda::attention::tensor
