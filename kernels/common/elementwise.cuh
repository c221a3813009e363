// Loops over contiguous memory: 16-byte accesses wherever the operands' addresses allow them,
// single elements in front of and behind them, any size. What is done to an element is a functor
// with
//   template <int N> In load(index_t i) const;               reads elements i … i + N − 1
//   template <int N> void store(index_t i, const In&) const; computes and writes them
// Loads of several packs are under way before the first is used: that is what hides the latency.
#pragma once

#include "device.cuh"

namespace flr::cuda {

template <int N, class T>
__device__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <int N, class T>
__device__ void store_pack(T* p, const Pack<T, N>& x) {
  *reinterpret_cast<Pack<T, N>*>(p) = x;
}

/// Whether every pointer (null counts) can be read in packs of N.
template <int N, class... T>
bool packs_fit(const T*... p) {
  return ((reinterpret_cast<std::uintptr_t>(p) % (N * sizeof(T)) == 0) && ...);
}

/// Elements in front of the first one at which all pointers are aligned to packs of N; −1 if there
/// is none.
template <int N, class First, class... T>
int elements_to_alignment(const First* first, const T*... p) {
  const auto lead = [](std::uintptr_t address, std::uintptr_t size) {
    return static_cast<int>((N - address / size % N) % N);
  };
  const int common = lead(reinterpret_cast<std::uintptr_t>(first), sizeof(First));
  const bool agree = ((lead(reinterpret_cast<std::uintptr_t>(p), sizeof(T)) == common) && ...);
  return agree ? common : -1;
}

inline constexpr int elementwise_threads = 256, elementwise_packs = 4;

template <int N, class F>
__global__ void __launch_bounds__(elementwise_threads) elementwise(F f, index_t n, int lead) {
  constexpr int threads = elementwise_threads, unroll = elementwise_packs;
  const index_t packs = n > lead ? (n - lead) / N : 0;
  const index_t step = index_t{gridDim.x} * threads * unroll;
  for (index_t k = index_t{blockIdx.x} * threads * unroll + threadIdx.x; k < packs; k += step) {
    decltype(f.template load<N>(0)) in[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u)
      if (k + u * threads < packs) in[u] = f.template load<N>(lead + (k + u * threads) * N);
#pragma unroll
    for (int u = 0; u < unroll; ++u)
      if (k + u * threads < packs) f.template store<N>(lead + (k + u * threads) * N, in[u]);
  }
  if (N > 1 && blockIdx.x == 0 && threadIdx.x < n - packs * N) {  // fewer than 2N elements
    const index_t i = threadIdx.x < lead ? threadIdx.x : threadIdx.x + packs * N;
    f.template store<1>(i, f.template load<1>(i));
  }
}

/// Runs f over n elements of the arrays that `pointers` lists.
template <int N, class F, class... T>
void launch_elementwise(const F& f, index_t n, const char* name, const T*... pointers) {
  if (n <= 0) return;
  constexpr index_t per_block = elementwise_threads * elementwise_packs;
  const auto blocks = [](index_t packs) {
    const index_t b = ceil_div(packs, per_block);
    return static_cast<unsigned>(b < 1 ? 1 : b < 0x7fffffff ? b : 0x7fffffff);
  };
  const int lead = elements_to_alignment<N>(pointers...);
  if (lead >= 0)
    elementwise<N><<<blocks(n / N), elementwise_threads, 0, stream()>>>(f, n, lead);
  else
    elementwise<1><<<blocks(n), elementwise_threads, 0, stream()>>>(f, n, 0);
  check_launch(name);
}

}  // namespace flr::cuda
