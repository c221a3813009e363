// What every segment starts from: its own sum first, then the sums of those before it.
#include "causal_linear/tiles.cuh"

namespace flr::cuda::causal {
namespace {

/// Σ κ φ(k) v'ᵀ over a segment, or with `Gradient` Σ φ(q) gᵀ.
template <class T, int W, bool Gradient>
__global__ void __launch_bounds__(threads) states_kernel(Problem<T> p, float* states) {
  constexpr int V = values_width(W);
  extern __shared__ uint4 memory[];
  T* left = reinterpret_cast<T*>(memory);
  T* right = left + tile * pitch<T>(W);
  const Place at(p);
  Sums<T, W, V> sums;
  for (index_t first = at.first; first < at.end; first += tile) {
    __syncthreads();  // the last tile is used up
    if constexpr (Gradient) {
      load_queries<W>(left, p, at, first);
      load_gradients<W>(right, p, at, first);
    } else {
      load_keys<W>(left, p, at, first);
      load_values<W>(right, p, at, first);
    }
    __syncthreads();
    sums.template add<tile>(across(left, W), across(right, V));
  }
  float* to = states + at.item * state_size(W);
  sums.each([&](int m, int n, float& v) { to[m * V + n] = v; });
}

constexpr int ahead = 8;  ///< states fetched before the first is used

/// One thread a number: the sum of all segments before, or with `back` after each.
__global__ void __launch_bounds__(threads) carry_kernel(float* states, index_t heads,
                                                        index_t segments, index_t size, bool back) {
  const index_t at = index_t{blockIdx.x} * threads + threadIdx.x;
  if (at >= heads * size) return;
  float* line = states + at / size * segments * size + at % size;
  float sum = 0;
  for (index_t k = 0; k < segments; k += ahead) {
    float own[ahead];
#pragma unroll
    for (int e = 0; e < ahead; ++e)
      own[e] = k + e < segments ? line[(back ? segments - 1 - k - e : k + e) * size] : 0.0f;
#pragma unroll
    for (int e = 0; e < ahead; ++e) {
      if (k + e >= segments) continue;
      line[(back ? segments - 1 - k - e : k + e) * size] = sum;
      sum += own[e];
    }
  }
}

}  // namespace

template <class T, int W>
void make_states(const Problem<T>& p, float* states, bool backward) {
  constexpr int bytes = shared_bytes<T>(W, 1, 1, false);
  if (backward) {
    allow_shared(states_kernel<T, W, true>, bytes, "causal_linear, states");
    states_kernel<T, W, true><<<p.blocks(), threads, bytes, stream()>>>(p, states);
  } else {
    allow_shared(states_kernel<T, W, false>, bytes, "causal_linear, states");
    states_kernel<T, W, false><<<p.blocks(), threads, bytes, stream()>>>(p, states);
  }
  check_launch("causal_linear, states");
  const index_t heads = p.B * p.H, size = state_size(W);
  const unsigned blocks = unsigned(ceil_div(heads * size, threads));
  carry_kernel<<<blocks, threads, 0, stream()>>>(states, heads, p.segments, size, backward);
  check_launch("causal_linear, carry");
}

template void make_states<float, 16>(const Problem<float>&, float*, bool);
template void make_states<float, 32>(const Problem<float>&, float*, bool);
template void make_states<float, 64>(const Problem<float>&, float*, bool);
template void make_states<bf16, 16>(const Problem<bf16>&, float*, bool);
template void make_states<bf16, 32>(const Problem<bf16>&, float*, bool);
template void make_states<bf16, 64>(const Problem<bf16>&, float*, bool);

}  // namespace flr::cuda::causal
