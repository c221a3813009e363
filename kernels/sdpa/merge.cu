// The states of splits of the keys, merged: with M = max mₛ, y = Σ 2^(mₛ − M) oₛ / Σ 2^(mₛ − M) lₛ.
//
// Reads splits · (Dv + 2) numbers a query, a few megabytes. A warp takes a query: its lanes are
// spread over splits for the statistics, over channels and then splits for the sums.
#include "general.hpp"
#include "layout.cuh"

namespace flr::cuda::attention {
namespace {

inline constexpr int merge_threads = 256;

template <class T>
__global__ void __launch_bounds__(merge_threads)
    merge_kernel(const __grid_constant__ SdpaParams<T> p, index_t splits, int channels,
                 const compute_t<T>* sums, const Pack<compute_t<T>, 2>* states) {
  using C = compute_t<T>;
  const int lane = int(threadIdx.x) % 32, channel = lane % channels, turn = lane / channels;
  const index_t rows = p.B * p.H * p.Nq, step = index_t{gridDim.x} * (merge_threads / 32);
  for (index_t row = index_t{blockIdx.x} * (merge_threads / 32) + threadIdx.x / 32; row < rows;
       row += step) {
    C top = minus_infinity<C>();
    for (index_t s = lane; s < splits; s += 32) {
      const C m = states[s * rows + row].v[0];
      top = m > top ? m : top;
    }
    top = warp_max(top);
    const C zero = top == minus_infinity<C>() ? C(0) : top;
    C sum = 0;
    for (index_t s = lane; s < splits; s += 32) {
      const auto state = states[s * rows + row];
      sum += exp2_of(state.v[0] - zero) * state.v[1];
    }
    sum = warp_sum(sum);
    const C factor = sum == 0 ? C(0) : 1 / sum;
    const index_t unit = row / p.Nq, i = row % p.Nq;
    if (lane == 0 && p.lse) p.lse[row] = sum == 0 ? minus_infinity<C>() : zero * ln_2<C> + log(sum);
    T* const y = head(p.o, p.os, unit, p.H) + i * p.os.row;
    for (index_t d = channel; d - channel < p.Dv; d += channels) {
      C o = 0;
      if (d < p.Dv) {
#pragma unroll 4
        for (index_t s = turn; s < splits; s += 32 / channels)
          o += exp2_of(states[s * rows + row].v[0] - zero) * sums[(s * rows + row) * p.Dv + d];
      }
      for (int x = channels; x < 32; x *= 2) o += __shfl_xor_sync(0xffffffffu, o, x);
      if (d < p.Dv && turn == 0) y[d] = from_compute<T>(o * factor);
    }
  }
}

}  // namespace

template <class T>
void merge_states(const SdpaParams<T>& p, index_t splits, const compute_t<T>* sums,
                  const Pack<compute_t<T>, 2>* states) {
  int channels = 1;  // a power of two, so that lanes of one channel can be added up
  while (channels < 32 && channels < p.Dv) channels *= 2;
  merge_kernel<T><<<grid_for(p.B * p.H * p.Nq, merge_threads / 32), merge_threads, 0, stream()>>>(
      p, splits, channels, sums, states);
  check_launch("sdpa, merging");
}

template void merge_states<float>(const SdpaParams<float>&, index_t, const float*,
                                  const Pack<float, 2>*);
template void merge_states<double>(const SdpaParams<double>&, index_t, const double*,
                                   const Pack<double, 2>*);
template void merge_states<bf16>(const SdpaParams<bf16>&, index_t, const float*,
                                 const Pack<float, 2>*);

}  // namespace flr::cuda::attention
