// Outputs of causal linear attention: o = tril(φ(q) φ(k)ᵀ) v' + φ(q) S for the tiles of a segment.
#include "causal_linear/tiles.cuh"

namespace flr::cuda::causal {
namespace {

template <class T, int W>
__global__ void __launch_bounds__(threads) forward_kernel(Problem<T> p, const float* states,
                                                          Heads<T> y, float* d) {
  constexpr int V = values_width(W);
  extern __shared__ uint4 memory[];
  __shared__ float weight[tile];
  T* q = reinterpret_cast<T*>(memory);
  T* k = q + tile * pitch<T>(W);
  T* v = k + tile * pitch<T>(W);
  T* square = v + tile * pitch<T>(V);
  T* state = square + tile * pitch<T>(tile);
  const Place at(p);
  Sums<T, W, V> s;
  load_state(s, states, at);
  for (index_t first = at.first; first < at.end; first += tile) {
    __syncthreads();  // the last tile is used up
    load_queries<W>(q, p, at, first);
    load_keys<W>(k, p, at, first);
    load_values<W>(v, p, at, first);
    to_tile<V>(state, s);
    __syncthreads();

    Sums<T, tile, tile> products;
    products.template add<W>(along(q, W), along(k, W));
    to_lower_triangle(square, products);
    __syncthreads();

    Sums<T, tile, V> out;
    out.template add<tile>(along(square, tile), across(v, V));
    out.template add<W>(along(q, W), across(state, V));
    s.template add<tile>(across(k, W), across(v, V));

    if (p.normalize) {
      out.each([&](int m, int n, float& x) {
        if (n != p.D) return;
        weight[m] = x + p.epsilon;
        if (d && first + m < at.end) d[at.row + first + m] = x + p.epsilon;
      });
      __syncthreads();
    }
    T* to = at.of(y);
    out.each([&](int m, int n, float& x) {
      if (n < p.D && first + m < at.end)
        to[(first + m) * y.s.row + n] = from_compute<T>(p.normalize ? x / weight[m] : x * p.scale);
    });
  }
}

}  // namespace

template <class T>
void forward(const Problem<T>& p, const Heads<T>& y, float* d) {
  with_padded_width(p.E, p.D, [&]<int W>() {
    const Scratch<float> memory(p.segments > 1 ? p.B * p.H * p.segments * state_size(W) : 0);
    float* states = p.segments > 1 ? memory.data() : nullptr;
    if (states) make_states<T, W>(p, states, false);
    constexpr int bytes = shared_bytes<T>(W, 2, 1, true);
    allow_shared(forward_kernel<T, W>, bytes, "causal_linear");
    forward_kernel<T, W><<<p.blocks(), threads, bytes, stream()>>>(p, states, y, d);
    check_launch("causal_linear");
  });
}

template void forward(const Problem<float>&, const Heads<float>&, float*);
template void forward(const Problem<bf16>&, const Heads<bf16>&, float*);

}  // namespace flr::cuda::causal
