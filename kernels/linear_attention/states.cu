// Forward, first pass: S = Σ κ φ(k) vᵀ and z = Σ κ φ(k), a part for every split of the tokens.
#include "linear_attention/launch.cuh"

namespace flr::cuda::linear_attention {
namespace {

template <class T, int W, int Planes>
__global__ void __launch_bounds__(threads) states_kernel(Keys<T> p, float* parts) {
  constexpr int chunks = W / 32;
  const Place<W, chunks> at(p.n);
  if (!at.group_exists) return;
  const index_t N = p.n.Nk, tiles = (N + tile - 1) / tile;
  Sums<W> sums;
  Cursor<const T> from_k(p.k, at), from_v(p.v, at);
  Stored<T, chunks> next_k, next_v;
  from_k.load(at, at.split, N, next_k);
  from_v.load(at, at.split, N, next_v);
  for (index_t i = at.split; i < tiles; i += at.splits) {
    const Stored<T, chunks> v = next_v;
    Values<chunks> k;
    next_k.values(k);
    from_k.advance(), from_v.advance();
    from_k.load(at, i + at.splits, N, next_k);
    from_v.load(at, i + at.splits, N, next_v);
    Values<1> f;
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int e = 0; e < 8; ++e) f[r][0][e] = at.of_part(k, r, e);
    features<1>(p.n.feature, f);
    if constexpr (chunks == 1)
      if (p.n.unit_k) Unit(at, f);
    float kept_features[2][8];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const index_t token = at.token(i, r);
      const bool kept = token < N && (!p.keep || p.keep[at.b * p.keep_batch + token]);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        kept_features[r][e] = kept ? f[r][0][e] : 0.0f;
        sums.last[e] += kept_features[r][e];
      }
    }
    sums.template add<Planes>(kept_features, v);
  }
  sums.write(p.n, at, parts);
}

}  // namespace

template <class T>
void key_states(const Keys<T>& p, float* state) {
  with_width<T>(p.n.D, [&]<int W, int Planes>() {
    const Grid grid = grid_of(states_kernel<T, W, Planes>, p.n, p.n.Nk, W / 32, 0);
    const Scratch<float> parts(p.n.B * p.n.H * grid.splits * p.n.state());
    states_kernel<T, W, Planes><<<grid.blocks, threads, 0, stream()>>>(p, parts);
    check_launch("linear_attention_states");
    merge_states(p.n, parts, grid.splits, state);
  });
}
template void key_states(const Keys<float>&, float*);
template void key_states(const Keys<bf16>&, float*);

}  // namespace flr::cuda::linear_attention
