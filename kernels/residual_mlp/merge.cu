// dW and db of all layers from the blocks' partial sums, added in the order of the blocks.
//
// Bound by reading the partials once (11 MB for 132 blocks at C = 64, L = 3, mostly from L2). A
// block takes 32 parameters; eight warps each add every eighth partial, then the eight are added in
// order.
#include "common/device.cuh"
#include "residual_mlp/entries.hpp"

namespace flr::cuda::mlp {
namespace {

constexpr int lanes = 32, groups = 8;

template <class T>
__global__ void __launch_bounds__(lanes* groups)
    merge_kernel(ResidualMlpBackwardParams<T> p, const float* partials, int splits, int size) {
  __shared__ float part[groups][lanes];
  const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
  const int e = blockIdx.x * lanes + lane;
  float sum = 0;
  if (e < size)
    for (int s = group; s < splits; s += groups) sum += partials[index_t{s} * size + e];
  part[group][lane] = sum;
  __syncthreads();
  if (group || e >= size) return;
  sum = 0;
#pragma unroll
  for (int g = 0; g < groups; ++g) sum += part[g][lane];
  int l = 0;
  while (l <= p.layers && e >= partial_offset(p, l + 1)) ++l;
  const int within = e - partial_offset(p, l), weights = layer_in(p, l) * layer_out(p, l);
  const GradMode mode = within < weights ? p.dw_mode[l] : p.db_mode[l];
  if (mode == GradMode::ignore) return;
  float* at = within < weights ? p.dw[l] + within : p.db[l] + (within - weights);
  put<float>(at, sum, mode == GradMode::accumulate);
}

}  // namespace

template <class T>
void merge_gradients(const ResidualMlpBackwardParams<T>& p, const float* partials, int splits) {
  const int size = partial_size(p);
  merge_kernel<T>
      <<<unsigned(ceil_div(size, lanes)), lanes * groups, 0, stream()>>>(p, partials, splits, size);
  check_launch("residual_mlp_backward");
}

template void merge_gradients(const ResidualMlpBackwardParams<float>&, const float*, int);
template void merge_gradients(const ResidualMlpBackwardParams<bf16>&, const float*, int);

}  // namespace flr::cuda::mlp
