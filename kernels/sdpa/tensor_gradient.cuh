// Where the tensor-core kernels leave gradients of keys and values.
#pragma once

#include "sdpa/general.hpp"
#include "sdpa/tensor_tile.cuh"

namespace flr::cuda::attention::tensor {

/// Stores the gradients of sixteen keys: into their place, or into the parts of a split.
template <int Depth, class T>
__device__ void store_gradient(const Sums<Depth>& sums, float factor, const SdpaParams<T>& p,
                               const GradientTarget<T>& target, index_t part, index_t at,
                               index_t first, int depth) {
  if (!target.wanted) return;
  const float factors[2] = {factor, factor};
  if (target.part)
    store_sums<Depth>(sums, factors, target.part + part * p.Nk * depth, index_t{depth}, first, p.Nk,
                      depth, false);
  else
    store_sums<Depth>(sums, factors, head(target.to, target.s, at, p.H), target.s.row, first, p.Nk,
                      depth, target.accumulate);
}

}  // namespace flr::cuda::attention::tensor
