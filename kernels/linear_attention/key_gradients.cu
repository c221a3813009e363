// Backward, second pass, over keys and values: with [R|w] the state's gradient,
//
//   dφ(k) = κ (R v + w),   dv = κ Rᵀφ(k)
#include "linear_attention/launch.cuh"

namespace flr::cuda::linear_attention {
namespace {

template <class T, int W, int Planes>
__global__ void __launch_bounds__(threads)
    keys_kernel(Keys<T> p, const float* slope, GradOf<T> dk, GradOf<T> dv) {
  extern __shared__ Pair fragments[];
  constexpr int chunks = W / 32, pairs = fragment_pairs<W, Planes>;
  const Sizes& n = p.n;
  const Place<W> at(n);
  const index_t N = n.Nk, tiles = (N + tile - 1) / tile;
  Cursor<const T> from_k(p.k, at), from_v(p.v, at);
  Cursor<T> to_k(dk, at), to_v(dv, at);
  Stored<T, chunks> next_k, next_v;
  from_k.load(at, at.split, N, next_k);
  from_v.load(at, at.split, N, next_v);
  float w[chunks][8];
  load_last<chunks>(n, at, slope, w);
  fill_fragments<W, Planes>(n, slope, false, fragments);
  fill_fragments<W, Planes>(n, slope, true, fragments + n.beside * pairs);
  __syncthreads();
  if (!at.group_exists) return;
  const Pair *plain = fragments + at.slot * pairs, *transposed = plain + n.beside * pairs;
  for (index_t i = at.split; i < tiles; i += at.splits) {
    const Stored<T, chunks> v = next_v;
    Values<chunks> f, slope, grad;
    next_k.values(f);
    from_k.advance(), from_v.advance();
    from_k.load(at, i + at.splits, N, next_k);
    from_v.load(at, i + at.splits, N, next_v);
    const auto put = [&](const Cursor<T>& to, bool accumulate) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const index_t token = at.token(i, r);
        if (token >= N) continue;
        const bool kept = !p.keep || p.keep[at.b * p.keep_batch + token];
#pragma unroll
        for (int c = 0; c < chunks; ++c) {
          if (!at.exists[c]) continue;
#pragma unroll
          for (int e = 0; e < 8; ++e) grad[r][c][e] = kept ? grad[r][c][e] : 0.0f;
          to.put(r, c, grad[r][c], accumulate);
        }
      }
    };
    features<chunks>(n.feature, f, slope);
    [[maybe_unused]] Unit unit;
    if constexpr (chunks == 1)
      if (n.unit_k) unit = Unit(at, f);
    if (dk.wanted()) {
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int c = 0; c < chunks; ++c)
#pragma unroll
          for (int e = 0; e < 8; ++e) grad[r][c][e] = w[c][e];
      add_product<W, Planes>(v, transposed, grad);
      if constexpr (chunks == 1)
        if (n.unit_k) unit.back(at, f, grad);
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int c = 0; c < chunks; ++c)
#pragma unroll
          for (int e = 0; e < 8; ++e) grad[r][c][e] *= slope[r][c][e];
      put(to_k, dk.mode == GradMode::accumulate);
    }
    if (dv.wanted()) {
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int c = 0; c < chunks; ++c)
#pragma unroll
          for (int e = 0; e < 8; ++e) grad[r][c][e] = 0;
      add_product<W, Planes>(f, plain, grad);
      put(to_v, dv.mode == GradMode::accumulate);
    }
    to_k.advance(), to_v.advance();
  }
}

}  // namespace

template <class T>
void key_gradients(const Keys<T>& p, const float* slope, const GradOf<T>& dk, const GradOf<T>& dv) {
  if (!dk.wanted() && !dv.wanted()) return;
  with_width<T>(p.n.D, [&]<int W, int Planes>() {
    const int shared = 2 * p.n.beside * fragment_pairs<W, Planes> * int(sizeof(Pair));
    allow_shared(keys_kernel<T, W, Planes>, shared, "linear_attention_keys");
    const Grid grid = grid_of(keys_kernel<T, W, Planes>, p.n, p.n.Nk, 1, shared);
    keys_kernel<T, W, Planes><<<grid.blocks, threads, shared, stream()>>>(p, slope, dk, dv);
    check_launch("linear_attention_keys");
  });
}
template void key_gradients(const Keys<float>&, const float*, const GradOf<float>&,
                            const GradOf<float>&);
template void key_gradients(const Keys<bf16>&, const float*, const GradOf<bf16>&, const GradOf<bf16>&);

}  // namespace flr::cuda::linear_attention
