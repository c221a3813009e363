// grad[h,m,d] (+)= factor · Σ_b Σ_s part[b,h,s,m,d] in order of b and s; without Σ_b where the
// gradient has a batch axis.
//
// Bound by latency: a few megabytes. A block takes 32 numbers of one head; each of its warps adds a
// range of the parts, and the first one adds what the warps found.
#include "common/device.cuh"
#include "flare/problem.hpp"

namespace flr::cuda::flare {
namespace {

constexpr int segments = 8;

template <class T>
__global__ void __launch_bounds__(32 * segments)
    reduce_kernel(Sizes n, const float* parts, int splits, float factor, GradOf<T> grad,
                  int batches) {
  __shared__ float found[segments][32];
  const int lane = threadIdx.x % 32, segment = threadIdx.x / 32, h = blockIdx.x % n.H;
  const int b0 = blockIdx.x / n.H, item = int(blockIdx.y) * 32 + lane, items = n.M * n.D;
  const int terms = batches * splits;
  float sum = 0;
  if (item < items) {
    const int begin = terms * segment / segments, end = terms * (segment + 1) / segments;
    int s = begin % splits;
    const index_t b = b0 + begin / splits, beyond = index_t{n.H - 1} * splits * items;
    const float* part = parts + ((b * n.H + h) * splits + s) * items + item;
#pragma unroll 8
    for (int i = begin; i < end; ++i) {
      sum += *part;
      part += items;
      if (++s == splits) s = 0, part += beyond;  // to the same head of the next batch
    }
  }
  found[segment][lane] = sum;
  __syncthreads();
  if (segment > 0 || item >= items) return;
  for (int s = 1; s < segments; ++s) sum += found[s][lane];
  put(grad.head(b0, h) + item / n.D * grad.s.row + item % n.D, sum * factor,
      grad.mode == GradMode::accumulate);
}

}  // namespace

template <class T>
void reduce_partials(const Sizes& n, const float* parts, int splits, float factor,
                     const GradOf<T>& grad) {
  if (!grad.wanted()) return;
  const bool shared = grad.s.batch == 0;
  const dim3 grid(unsigned(shared ? n.H : n.B * n.H), unsigned(ceil_div(index_t{n.M} * n.D, 32)));
  reduce_kernel<T>
      <<<grid, 32 * segments, 0, stream()>>>(n, parts, splits, factor, grad, shared ? n.B : 1);
  check_launch("flare_reduce_partials");
}

template void reduce_partials(const Sizes&, const float*, int, float, const GradOf<bf16>&);
template void reduce_partials(const Sizes&, const float*, int, float, const GradOf<float>&);

}  // namespace flr::cuda::flare
