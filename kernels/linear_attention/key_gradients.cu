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
  fill_fragments<W, Planes>(n, slope, false, fragments);
  fill_fragments<W, Planes>(n, slope, true, fragments + n.beside * pairs);
  __syncthreads();
  if (!at.group_exists) return;
  const Pair *plain = fragments + at.slot * pairs, *transposed = plain + n.beside * pairs;
  float w[chunks][8];
  load_last<chunks>(n, at, slope, w);
  const index_t N = n.Nk, tiles = (N + tile - 1) / tile;
  Stored<T, chunks> next_k, next_v;
  next_k.load(p.k, at, at.split, N);
  next_v.load(p.v, at, at.split, N);
  for (index_t i = at.split; i < tiles; i += at.splits) {
    const Stored<T, chunks> k = next_k;
    Values<chunks> x, grad;
    next_v.values(x);
    next_k.load(p.k, at, i + at.splits, N);
    next_v.load(p.v, at, i + at.splits, N);
    const auto put = [&](const GradOf<T>& to) {
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
          put_chunk(to, at, token, c, grad[r][c], to.mode == GradMode::accumulate);
        }
      }
    };
    if (dk.wanted()) {
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int c = 0; c < chunks; ++c)
#pragma unroll
          for (int e = 0; e < 8; ++e) grad[r][c][e] = w[c][e];
      add_product<W, Planes>(x, transposed, grad);
      k.values(x);
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int c = 0; c < chunks; ++c)
#pragma unroll
          for (int e = 0; e < 8; ++e)
            grad[r][c][e] *= causal::feature_slope(n.feature, x[r][c][e]);
      put(dk);
    }
    if (dv.wanted()) {
      k.values(x);
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int c = 0; c < chunks; ++c) {
          features(n.feature, x[r][c]);
#pragma unroll
          for (int e = 0; e < 8; ++e) grad[r][c][e] = 0;
        }
      add_product<W, Planes>(x, plain, grad);
      put(dv);
    }
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
