// What the tiles of a head left, in one number for each head; always in the same order.
#include "favor/exponents.cuh"

namespace flr::cuda::favor {
namespace {

constexpr int lanes = 128;

__global__ void __launch_bounds__(lanes)
    maxima_kernel(const float* parts, index_t tiles, float* maximum) {
  __shared__ float all[lanes];
  const index_t head = blockIdx.x;
  float most = -INFINITY;
  for (index_t i = threadIdx.x; i < tiles; i += lanes)
    most = greater(most, parts[head * tiles + i]);
  all[threadIdx.x] = most;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int i = 1; i < lanes; ++i) most = greater(most, all[i]);
  maximum[head] = most;
}

__global__ void __launch_bounds__(lanes) shares_kernel(Parts parts, index_t tiles, float* share) {
  __shared__ double sums[lanes], counts[lanes];
  const index_t head = blockIdx.x;
  double sum = 0, count = 0;
  for (index_t i = threadIdx.x; i < tiles; i += lanes)
    sum += parts.sums[head * tiles + i], count += parts.counts[head * tiles + i];
  sums[threadIdx.x] = sum, counts[threadIdx.x] = count;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int i = 1; i < lanes; ++i) sum += sums[i], count += counts[i];
  share[head] = count > 0 ? float(-sum / count) : 0.0f;
}

}  // namespace

void collect_maxima(const float* parts, index_t heads, index_t tiles, float* maximum) {
  maxima_kernel<<<unsigned(heads), lanes, 0, stream()>>>(parts, tiles, maximum);
  check_launch("favor, maxima");
}
void collect_shares(const Parts& parts, index_t heads, index_t tiles, float* share) {
  shares_kernel<<<unsigned(heads), lanes, 0, stream()>>>(parts, tiles, share);
  check_launch("favor, shares");
}

}  // namespace flr::cuda::favor
