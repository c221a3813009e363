// Sums of partial gradients: to[b,h,r,c] = Σ from[part,b,h,r,c] over parts and, where an operand
// was shared, over batches and heads.
//
// Bound by reading the parts once. A block takes 32 neighbouring numbers; its eight warps add up
// every eighth term each, and their sums are added in order.
#include "general.hpp"

namespace flr::cuda::attention {
namespace {

inline constexpr int collect_warps = 8;

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
  collect_kernel<T><<<grid_for(numbers, 32), 32 * collect_warps, 0, stream()>>>(p);
  check_launch("sdpa_backward, collecting");
}

template void collect<float>(const Parts<float>&);
template void collect<double>(const Parts<double>&);
template void collect<bf16>(const Parts<bf16>&);

}  // namespace flr::cuda::attention
