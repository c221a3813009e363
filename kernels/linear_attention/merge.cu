// Sums of states over the splits of the tokens, always in the same order.
#include "linear_attention/launch.cuh"

namespace flr::cuda::linear_attention {
namespace {

/// A block has 32 numbers of a state, and for each of them so many threads.
constexpr int lines = 16;
constexpr int few_threads = 128;

__global__ void __launch_bounds__(32 * lines) merge_kernel(const float* parts, int splits, int size,
                                                           index_t all, float* state) {
  __shared__ float line_sums[lines][32];
  const int column = int(threadIdx.x) % 32, line = int(threadIdx.x) / 32;
  const index_t i = index_t{blockIdx.x} * 32 + column;
  float sum = 0;
  if (i < all) {
    const float* from = parts + i / size * splits * size + i % size;
#pragma unroll 8
    for (int s = line; s < splits; s += lines) sum += from[index_t{s} * size];
  }
  line_sums[line][column] = sum;
  __syncthreads();
  if (line > 0 || i >= all) return;
  for (int l = 1; l < lines; ++l) sum += line_sums[l][column];
  state[i] = sum;
}

/// The same for at most `lines` splits, of which each would be a line's sum: a thread has a number to
/// itself, and all of its loads wait together.
__global__ void __launch_bounds__(few_threads) merge_few_kernel(const float* parts, int splits, int size,
                                                                index_t all, float* state) {
  const index_t i = index_t{blockIdx.x} * few_threads + threadIdx.x;
  if (i >= all) return;
  const float* from = parts + i / size * splits * size + i % size;
  float x[lines];
#pragma unroll
  for (int s = 0; s < lines; ++s) x[s] = s < splits ? from[index_t{s} * size] : 0.0f;
  float sum = x[0];
#pragma unroll
  for (int s = 1; s < lines; ++s) sum += x[s];
  state[i] = sum;
}

}  // namespace

void merge_states(const Sizes& n, const float* parts, int splits, float* state) {
  const index_t all = n.B * n.H * n.state();
  const int size = int(n.state());
  if (splits <= lines)
    merge_few_kernel<<<unsigned(ceil_div(all, few_threads)), few_threads, 0, stream()>>>(parts, splits, size,
                                                                                         all, state);
  else
    merge_kernel<<<unsigned(ceil_div(all, 32)), 32 * lines, 0, stream()>>>(parts, splits, size, all, state);
  check_launch("linear_attention_merge");
}

}  // namespace flr::cuda::linear_attention
