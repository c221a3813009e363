// Gradients of keys and values, tiles from the last to the first:
//   dφ(k) = κ (tril(g v'ᵀ)ᵀ φ(q) + v' Rᵀ),   dv = tril(φ(q) κφ(k)ᵀ)ᵀ g + κφ(k) R
#include "causal_linear/tiles.cuh"

namespace flr::cuda::causal {
namespace {

template <class T, int W>
__global__ void __launch_bounds__(threads, 2)
    backward_key_kernel(Problem<T> p, const float* states, GradOf<T> dk, GradOf<T> dv) {
  constexpr int V = values_width(W);
  extern __shared__ uint4 memory[];
  T* q = reinterpret_cast<T*>(memory);
  T* k = q + tile * pitch<T>(W);
  T* v = k + tile * pitch<T>(W);
  T* g = v + tile * pitch<T>(V);
  T* square = g + tile * pitch<T>(V);
  T* state = square + tile * pitch<T>(tile);
  const Place at(p);
  Sums<T, W, V> r;
  load_state(r, states, at);
  const index_t tiles = ceil_div(at.end - at.first, tile);
  for (index_t i = tiles; i-- > 0;) {
    const index_t first = at.first + i * tile;
    __syncthreads();  // the last tile is used up
    load_queries<W>(q, p, at, first);
    load_keys<W>(k, p, at, first);
    load_values<W>(v, p, at, first);
    load_gradients<W>(g, p, at, first);
    to_tile<V>(state, r);
    __syncthreads();

    if (dk.wanted()) {
      Sums<T, tile, tile> products;
      products.template add<V>(along(g, V), along(v, V));
      to_lower_triangle(square, products);
      __syncthreads();
      Sums<T, tile, W> out;
      out.template add<tile>(across(square, tile), across(q, W));
      out.template add<V>(along(v, V), along(state, V));
      const T* raw = at.of(p.k);
      T* to = at.of(dk);
      with_feature(p.feature, [&]<Feature map>() {
        out.each([&](int m, int n, float& x) {
          const index_t token = first + m;
          if (n >= p.E || token >= at.end) return;
          const float slope = feature_slope<map>(to_compute(raw[token * p.k.s.row + n]));
          put(to + token * dk.s.row + n, kept(p, at, token) > 0 ? x * slope : 0.0f,
              dk.mode == GradMode::accumulate);
        });
      });
      __syncthreads();  // before the square is written again
    }
    if (dv.wanted()) {
      Sums<T, tile, tile> products;
      products.template add<W>(along(q, W), along(k, W));
      to_lower_triangle(square, products);
      __syncthreads();
      Sums<T, tile, V> out;
      out.template add<tile>(across(square, tile), across(g, V));
      out.template add<W>(along(k, W), across(state, V));
      T* to = at.of(dv);
      out.each([&](int m, int n, float& x) {
        const index_t token = first + m;
        if (n < p.D && token < at.end)
          put(to + token * dv.s.row + n, x, dv.mode == GradMode::accumulate);
      });
    }
    r.template add<tile>(across(q, W), across(g, V));
  }
}

}  // namespace

template <class T>
void backward_key(const Problem<T>& p, const GradOf<T>& dk, const GradOf<T>& dv) {
  with_padded_width(p.E, p.D, [&]<int W>() {
    const Scratch<float> memory(p.segments > 1 ? p.B * p.H * p.segments * state_size(W) : 0);
    float* states = p.segments > 1 ? memory.data() : nullptr;
    if (states) make_states<T, W>(p, states, true);
    constexpr int bytes = shared_bytes<T>(W, 2, 2, true);
    allow_shared(backward_key_kernel<T, W>, bytes, "causal_linear, dk and dv");
    backward_key_kernel<T, W><<<p.blocks(), threads, bytes, stream()>>>(p, states, dk, dv);
    check_launch("causal_linear, dk and dv");
  });
}

template <class T>
int most_shared_bytes(int E, int D) {
  return with_padded_width(E, D, []<int W>() { return shared_bytes<T>(W, 2, 2, true); });
}

template int most_shared_bytes<float>(int, int);
template int most_shared_bytes<bf16>(int, int);
template void backward_key(const Problem<float>&, const GradOf<float>&, const GradOf<float>&);
template void backward_key(const Problem<bf16>&, const GradOf<bf16>&, const GradOf<bf16>&);

}  // namespace flr::cuda::causal
