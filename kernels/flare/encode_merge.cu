// z = Σₛ 2^(mₛ − m) oₛ / Σₛ 2^(mₛ − m) lₛ, m = maxₛ mₛ: the parts of encode, each of some tokens,
// together; lse = ln 2 · (m + log₂ l).
//
// Bound by latency: a few megabytes. A block takes 32 numbers of one head; each of its warps merges
// a range of the parts in order, and the first one merges what the warps found, in order.
#include "common/device.cuh"
#include "flare/fragments.cuh"

namespace flr::cuda::flare {
namespace {

constexpr int segments = 8;

/// The part of a softmax-weighted sum: o and l are relative to 2^m.
struct Part {
  float m = -INFINITY, l = 0, o = 0;
  __device__ void merge(const Part& x) {
    const float top = fmaxf(m, x.m);
    if (top == -INFINITY) return;  // neither has a token
    const float f = exp2_fast(m - top), fx = exp2_fast(x.m - top);
    o = o * f + x.o * fx, l = l * f + x.l * fx, m = top;
  }
};

template <class T>
__global__ void __launch_bounds__(32 * segments)
    merge_kernel(EncodeOf<T> p, const float* o, const float* ml, int splits, Guard guard) {
  if (guard.only_if && !*guard.only_if) return;
  __shared__ Part found[segments][32];
  const int lane = threadIdx.x % 32, segment = threadIdx.x / 32, D = p.n.D;
  const int item = int(blockIdx.x) * 32 + lane, m = item / D, d = item % D;
  const int b = blockIdx.y / p.n.H, h = blockIdx.y % p.n.H;
  Part part;
  if (m < p.n.M) {
    const int begin = splits * segment / segments, end = splits * (segment + 1) / segments;
#pragma unroll 4
    for (int s = begin; s < end; ++s) {
      const index_t row = (index_t{blockIdx.y} * splits + s) * p.n.M + m;
      const float2 x = *reinterpret_cast<const float2*>(ml + 2 * row);
      part.merge({x.x, x.y, o[row * D + d]});
    }
  }
  found[segment][lane] = part;
  __syncthreads();
  if (segment > 0 || m >= p.n.M) return;
  for (int s = 1; s < segments; ++s) part.merge(found[s][lane]);
  if (guard.raise && !(part.l < 0x1p100f && fabsf(part.o) < 0x1p120f)) *guard.raise = 1;
  p.z.head(b, h)[m * p.z.s.row + d] = from_compute<T>(part.o / part.l);
  if (p.lse && d == 0) p.lse[index_t{blockIdx.y} * p.n.M + m] = (part.m + log2f(part.l)) * ln_2;
}

}  // namespace

template <class T>
void encode_merge(const EncodeOf<T>& p, const float* o, const float* ml, int splits, Guard guard) {
  const dim3 grid(unsigned(ceil_div(index_t{p.n.M} * p.n.D, 32)), unsigned(p.n.B * p.n.H));
  merge_kernel<T><<<grid, 32 * segments, 0, stream()>>>(p, o, ml, splits, guard);
  check_launch("flare_encode_merge");
}

template void encode_merge(const EncodeOf<bf16>&, const float*, const float*, int, Guard);
template void encode_merge(const EncodeOf<float>&, const float*, const float*, int, Guard);

}  // namespace flr::cuda::flare
