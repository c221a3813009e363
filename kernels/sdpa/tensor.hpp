// The tensor-core attention path, one file each: bf16, any number of queries and keys, causal and
// key masks, shared operands. What it declines goes to the general kernels.
#pragma once

#include "general.hpp"

namespace flr::cuda::attention::tensor {

/// Why a call is declined; empty if it is taken. Taken are head dimensions that are multiples of 8
/// up to 128, no bias, scale > 0, pointers and strides of 16 bytes.
std::string declines(const SdpaParams<bf16>& p);           // tensor_accept.cu
std::string declines(const SdpaBackwardParams<bf16>& p);

/// Forward; the number of splits of the keys.
index_t forward(const SdpaParams<bf16>& p);  // tensor_forward.cu
/// dq; the number of splits of the keys.
index_t query_gradient(const SdpaBackwardParams<bf16>& p,
                       const QueryStatistics<bf16>* statistics);  // tensor_backward_query.cu
/// dk and dv; the number of splits of the queries.
index_t key_gradients(const SdpaBackwardParams<bf16>& p,
                      const QueryStatistics<bf16>* statistics);  // tensor_backward_key.cu

/// Calls f.template operator()<Depth>() with the power of two that holds `depth` channels.
template <class F>
void with_depth(index_t depth, F&& f) {
  if (depth <= 8) return f.template operator()<8>();
  if (depth <= 16) return f.template operator()<16>();
  if (depth <= 32) return f.template operator()<32>();
  if (depth <= 64) return f.template operator()<64>();
  return f.template operator()<128>();
}

/// Sums on tensor cores are rounded far below bf16: nothing is split for accuracy's sake.
inline constexpr index_t any_number_of_terms = index_t{1} << 40;

}  // namespace flr::cuda::attention::tensor
