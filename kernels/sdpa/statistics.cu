// What the backward pass needs of each query: log-sum-exp in units of log 2, and δ = Σ_d dy_d y_d.
//
// Bound by reading y and dy once. A few neighbouring lanes share a row, four channels each; rows
// are taken in the order [B, Nq, H], that of the tokens of a network, so that lines are read whole.
#include "general.hpp"
#include "layout.cuh"

namespace flr::cuda::attention {
namespace {

inline constexpr int statistics_threads = 256;

template <class T>
__global__ void __launch_bounds__(statistics_threads)
    statistics_kernel(const __grid_constant__ SdpaBackwardParams<T> p, int lanes, bool aligned,
                      QueryStatistics<T>* statistics) {
  using C = compute_t<T>;
  const SdpaParams<T>& f = p.f;
  const int per_block = statistics_threads / lanes, lane = int(threadIdx.x) % lanes;
  const index_t rows = f.B * f.Nq * f.H;
  // Whole warps stay in the loop: lanes are added up in it.
  for (index_t first = index_t{blockIdx.x} * per_block; first < rows;
       first += index_t{gridDim.x} * per_block) {
    const index_t row = first + threadIdx.x / lanes;
    C delta = 0;
    index_t at = 0;
    if (row < rows) {
      index_t h, i, b;
      if (rows <= 0x7fffffff) {  // divisions of 64 bits would take longer than the memory
        const unsigned r = unsigned(row), token = r / unsigned(f.H);
        h = r % unsigned(f.H), i = token % unsigned(f.Nq), b = token / unsigned(f.Nq);
      } else {
        h = row % f.H, i = row / f.H % f.Nq, b = row / f.H / f.Nq;
      }
      at = (b * f.H + h) * f.Nq + i;
      const T* y = f.o + b * f.os.batch + h * f.os.head + i * f.os.row;
      const T* dy = p.dout + b * p.dos.batch + h * p.dos.head + i * p.dos.row;
      const int d = lane * 4, depth = int(f.Dv);
      const auto yd = aligned ? load_quad<true>(y, d, depth) : load_quad<false>(y, d, depth);
      const auto dyd = aligned ? load_quad<true>(dy, d, depth) : load_quad<false>(dy, d, depth);
#pragma unroll
      for (int e = 0; e < 4; ++e) delta += yd.v[e] * dyd.v[e];
    }
    for (int x = 1; x < lanes; x *= 2) delta += __shfl_xor_sync(0xffffffffu, delta, x);
    if (row < rows && lane == 0) {
      const C lse = f.lse[at];
      statistics[at] = {lse == minus_infinity<C>() ? C(0) : lse * log2_e<C>, delta};
    }
  }
}

}  // namespace

template <class T>
void query_statistics(const SdpaBackwardParams<T>& p, QueryStatistics<T>* statistics) {
  const SdpaParams<T>& f = p.f;
  if (f.B * f.H * f.Nq == 0) return;
  int lanes = 1;
  while (lanes * 4 < f.Dv) lanes *= 2;
  const bool aligned = quads_align(f.o, f.os, f.Dv) && quads_align(p.dout, p.dos, f.Dv);
  statistics_kernel<T>
      <<<grid_for(f.B * f.H * f.Nq, statistics_threads / lanes), statistics_threads, 0, stream()>>>(
          p, lanes, aligned, statistics);
  check_launch("sdpa_backward, statistics");
}

template void query_statistics<float>(const SdpaBackwardParams<float>&, QueryStatistics<float>*);
template void query_statistics<double>(const SdpaBackwardParams<double>&, QueryStatistics<double>*);
template void query_statistics<bf16>(const SdpaBackwardParams<bf16>&, QueryStatistics<bf16>*);

}  // namespace flr::cuda::attention
