// Sums of partial gradients: to[b,h,r,c] = Σ from[part,b,h,r,c] over parts and, where an operand
// was shared, over batches and heads.
//
// Bound by reading the parts once. Few parts of an operand that was not shared are added by one thread
// for four neighbouring channels. Where there are more terms, a block takes 32 neighbouring numbers; its
// eight warps add up every eighth term each, and their sums are added in order.
#include "general.hpp"
#include "layout.cuh"

namespace flr::cuda::attention {
namespace {

inline constexpr int collect_warps = 8;

constexpr int quad_threads = 256;

/// Blocks blockIdx.x · … of `blocks` each belong to one head.
template <class T>
__global__ void __launch_bounds__(quad_threads)
    collect_quads_kernel(const __grid_constant__ Parts<T> p, unsigned blocks) {
  using C = compute_t<T>;
  const index_t item = blockIdx.x / blocks, size = p.rows * p.width, heads = p.B * p.H;
  const index_t at = 4 * (index_t{blockIdx.x % blocks} * quad_threads + threadIdx.x);
  if (at >= size) return;
  Pack<C, 4> sum = {};
  for (index_t part = 0; part < p.parts; ++part) {
    const auto x = *reinterpret_cast<const Pack<C, 4>*>(p.from + (part * heads + item) * size + at);
#pragma unroll
    for (int e = 0; e < 4; ++e) sum.v[e] += x.v[e];
  }
  const index_t r = at / p.width, c = at % p.width;
  auto* to = reinterpret_cast<Pack<T, 4>*>(p.to + item / p.H * p.s.batch + item % p.H * p.s.head + r * p.s.row + c);
  Pack<T, 4> y = {};
  if (p.accumulate) y = *to;
#pragma unroll
  for (int e = 0; e < 4; ++e) y.v[e] = from_compute<T>(p.accumulate ? to_compute(y.v[e]) + sum.v[e] : sum.v[e]);
  *to = y;
}

template <class T>
__global__ void __launch_bounds__(32 * collect_warps)
    collect_kernel(const __grid_constant__ Parts<T> p) {
  using C = compute_t<T>;
  __shared__ C sums[collect_warps][32];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  const index_t H = p.shared_h ? 1 : p.H, size = p.rows * p.width;
  const index_t numbers = (p.shared_b ? 1 : p.B) * H * size;
  const index_t over_b = p.shared_b ? p.B : 1, over_h = p.shared_h ? p.H : 1;
  const index_t terms = over_b * over_h * p.parts;
  for (index_t first = index_t{blockIdx.x} * 32; first < numbers;
       first += index_t{gridDim.x} * 32) {
    const index_t x = first + lane, place = x / size, within = x % size;
    const index_t b0 = place / H, h0 = place % H;
    C sum = 0;
    if (x < numbers)
      for (index_t t = warp; t < terms; t += collect_warps) {
        const index_t part = t % p.parts, h = h0 + t / p.parts % over_h;
        const index_t b = b0 + t / p.parts / over_h;
        sum += p.from[((part * p.B + b) * p.H + h) * size + within];
      }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && x < numbers) {
#pragma unroll
      for (int w = 1; w < collect_warps; ++w) sum += sums[w][lane];
      const index_t r = within / p.width, c = within % p.width;
      put(p.to + b0 * p.s.batch + h0 * p.s.head + r * p.s.row + c * p.column, sum, p.accumulate);
    }
    __syncthreads();
  }
}

}  // namespace

template <class T>
void collect(const Parts<T>& p) {
  const index_t numbers = (p.shared_b ? 1 : p.B) * (p.shared_h ? 1 : p.H) * p.rows * p.width;
  if (numbers == 0) return;
  const bool quads = p.width % 4 == 0 && quads_align(p.to, p.s, p.width) && p.column == 1;
  if (quads && !p.shared_b && !p.shared_h && p.parts <= 16) {
    const index_t blocks = ceil_div(p.rows * p.width / 4, quad_threads);
    if (p.B * p.H * blocks < index_t{1} << 31) {
      collect_quads_kernel<T><<<unsigned(p.B * p.H * blocks), quad_threads, 0, stream()>>>(p, unsigned(blocks));
      check_launch("sdpa_backward, collecting");
      return;
    }
  }
  collect_kernel<T><<<grid_for(numbers, 32), 32 * collect_warps, 0, stream()>>>(p);
  check_launch("sdpa_backward, collecting");
}

template void collect<float>(const Parts<float>&);
template void collect<double>(const Parts<double>&);
template void collect<bf16>(const Parts<bf16>&);

}  // namespace flr::cuda::attention
