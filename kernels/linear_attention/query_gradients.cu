// Backward, first pass, over queries: with d the denominators and t = S dy,
//
//   e = −(φ(q)·t)/d²,   dφ(q) = t/d + e z,
//   the state's gradient [R|w]:   R = Σ φ(q) (dy/d)ᵀ,   w = Σ e φ(q)
#include "linear_attention/launch.cuh"

namespace flr::cuda::linear_attention {
namespace {

template <class T, int W, int Planes>
__global__ void __launch_bounds__(threads)
    queries_kernel(Sizes n, Heads<const T> q, Heads<const T> dy, const float* state, float* parts,
                   GradOf<T> dq) {
  extern __shared__ Pair fragments[];
  constexpr int chunks = W / 32;
  constexpr bool ahead = sizeof(T) * W <= 64;  // what registers have room for
  const Place<W, chunks> at(n);
  fill_fragments<W, Planes>(n, state, true, fragments);
  __syncthreads();
  if (!at.group_exists) return;
  const Pair* mine = fragments + at.slot * fragment_pairs<W, Planes>;
  float z[chunks][8];
  load_last<chunks>(n, at, state, z);
  const index_t tiles = (n.Nq + tile - 1) / tile;
  Sums<W> sums;
  Stored<T, chunks> next_q, next_dy;
  const auto load = [&](index_t i) {
    next_q.load(q, at, i, n.Nq);
    next_dy.load(dy, at, i, n.Nq);
  };
  if (ahead) load(at.split);
  for (index_t i = at.split; i < tiles; i += at.splits) {
    if (!ahead) load(i);
    Values<chunks> f, g, s = {};
    next_q.values(f);
    next_dy.values(g);
    float x[2][8], own[2][8];  // of the part's channels: q and φ(q)
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int e = 0; e < 8; ++e) x[r][e] = at.of_part(f, r, e);
    if (ahead) load(i + at.splits);
    add_product<W, Planes>(g, mine, s);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool exists = at.token(i, r) < n.Nq;
      float weight = 0, along = 0;
#pragma unroll
      for (int c = 0; c < chunks; ++c) {
        features(n.feature, f[r][c]);
#pragma unroll
        for (int e = 0; e < 8; ++e)
          weight += f[r][c][e] * z[c][e], along += f[r][c][e] * s[r][c][e];
      }
      weight = at.head_sum(weight) + n.epsilon;
      const float inverse = exists ? 1 / weight : 0.0f;
      const float e_token = -at.head_sum(along) * inverse * inverse;
#pragma unroll
      for (int c = 0; c < chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          g[r][c][e] *= inverse;
          s[r][c][e] = s[r][c][e] * inverse + e_token * z[c][e];
        }
      float grad[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        own[r][e] = exists ? at.of_part(f, r, e) : 0.0f;
        sums.last[e] += own[r][e] * e_token;
        grad[e] = at.of_part(s, r, e) * causal::feature_slope(n.feature, x[r][e]);
      }
      const bool channels = chunks > 1 && at.part ? at.exists[chunks - 1] : at.exists[0];
      if (dq.wanted() && exists && channels)
        put_chunk(dq, at, at.token(i, r), at.part, grad, dq.mode == GradMode::accumulate);
    }
    sums.template add<Planes>(own, g);
  }
  sums.write(n, at, parts);
}

}  // namespace

template <class T>
void query_gradients(const Sizes& n, const Heads<const T>& q, const Heads<const T>& dy,
                     const float* state, float* slope, const GradOf<T>& dq) {
  with_width<T>(n.D, [&]<int W, int Planes>() {
    const int shared = n.beside * fragment_pairs<W, Planes> * int(sizeof(Pair));
    allow_shared(queries_kernel<T, W, Planes>, shared, "linear_attention_queries");
    const Grid grid = grid_of(queries_kernel<T, W, Planes>, n, n.Nq, W / 32, shared);
    const Scratch<float> parts(n.B * n.H * grid.splits * n.state());
    queries_kernel<T, W, Planes><<<grid.blocks, threads, shared, stream()>>>(n, q, dy, state, parts, dq);
    check_launch("linear_attention_queries");
    merge_states(n, parts, grid.splits, slope);
  });
}
template void query_gradients(const Sizes&, const Heads<const float>&, const Heads<const float>&,
                              const float*, float*, const GradOf<float>&);
template void query_gradients(const Sizes&, const Heads<const bf16>&, const Heads<const bf16>&,
                              const float*, float*, const GradOf<bf16>&);

}  // namespace flr::cuda::linear_attention
