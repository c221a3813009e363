// Gradients of queries: dφ(q) = tril(g v'ᵀ) φ(k) + g Sᵀ, tiles in the order of forward.
#include "causal_linear/tiles.cuh"

namespace flr::cuda::causal {
namespace {

template <class T, int W>
__global__ void __launch_bounds__(threads, 2)
    backward_query_kernel(Problem<T> p, const float* states, GradOf<T> dq) {
  constexpr int V = values_width(W);
  extern __shared__ uint4 memory[];
  T* k = reinterpret_cast<T*>(memory);
  T* v = k + tile * pitch<T>(W);
  T* g = v + tile * pitch<T>(V);
  T* square = g + tile * pitch<T>(V);
  T* state = square + tile * pitch<T>(tile);
  const Place at(p);
  const bool add = dq.mode == GradMode::accumulate;
  Sums<T, W, V> s;
  load_state(s, states, at);
  for (index_t first = at.first; first < at.end; first += tile) {
    __syncthreads();  // the last tile is used up
    load_keys<W>(k, p, at, first);
    load_values<W>(v, p, at, first);
    load_gradients<W>(g, p, at, first);
    to_tile<V>(state, s);
    __syncthreads();

    Sums<T, tile, tile> products;
    products.template add<V>(along(g, V), along(v, V));
    to_lower_triangle(square, products);
    __syncthreads();

    Sums<T, tile, W> out;
    out.template add<tile>(along(square, tile), across(k, W));
    out.template add<V>(along(g, V), along(state, V));
    s.template add<tile>(across(k, W), across(v, V));

    const T* q = at.of(p.q);
    T* to = at.of(dq);
    with_feature(p.feature, [&]<Feature map>() {
      out.each([&](int m, int n, float& x) {
        const index_t token = first + m;
        if (n >= p.E || token >= at.end) return;
        const float slope = feature_slope<map>(to_compute(q[token * p.q.s.row + n]));
        put(to + token * dq.s.row + n, x * slope, add);
      });
    });
  }
}

}  // namespace

template <class T>
void backward_query(const Problem<T>& p, const GradOf<T>& dq) {
  with_padded_width(p.E, p.D, [&]<int W>() {
    const Scratch<float> memory(p.segments > 1 ? p.B * p.H * p.segments * state_size(W) : 0);
    float* states = p.segments > 1 ? memory.data() : nullptr;
    if (states) make_states<T, W>(p, states, false);
    constexpr int bytes = shared_bytes<T>(W, 1, 2, true);
    allow_shared(backward_query_kernel<T, W>, bytes, "causal_linear, dq");
    backward_query_kernel<T, W><<<p.blocks(), threads, bytes, stream()>>>(p, states, dq);
    check_launch("causal_linear, dq");
  });
}

template void backward_query(const Problem<float>&, const GradOf<float>&);
template void backward_query(const Problem<bf16>&, const GradOf<bf16>&);

}  // namespace flr::cuda::causal
