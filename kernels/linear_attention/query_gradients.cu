// Backward, first pass, over queries: with d the denominators and t = S dy,
//
//   e = −(φ(q)·t)/d,   dφ(q) = (t + e z)/d,
//   the state's gradient [R|w]:   R = Σ φ(q)/d dyᵀ,   w = Σ e φ(q)/d
#include "linear_attention/launch.cuh"

namespace flr::cuda::linear_attention {
namespace {

template <class T, int W, int Planes>
__global__ void __launch_bounds__(threads, 1)
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
  Cursor<const T> from_q(q, at), from_dy(dy, at);
  Cursor<T> to(dq, at);
  const auto load = [&](index_t i) {
    from_q.load(at, i, n.Nq, next_q);
    from_dy.load(at, i, n.Nq, next_dy);
    from_q.advance(), from_dy.advance();
  };
  if (ahead) load(at.split);
  for (index_t i = at.split; i < tiles; i += at.splits) {
    if (!ahead) load(i);
    const Stored<T, chunks> x = next_q, g = next_dy;
    if (ahead) load(i + at.splits);
    Values<chunks> f, s = {};
    x.values(f);
    features<chunks>(n.feature, f);
    [[maybe_unused]] Unit unit;
    if constexpr (chunks == 1)
      if (n.unit_q) unit = Unit(at, f);
    add_product<W, Planes>(g, mine, s);
    float own[2][8];  // φ(q)/d of the part's channels
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float weight = 0, along = 0;
#pragma unroll
      for (int c = 0; c < chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e)
          weight += f[r][c][e] * z[c][e], along += f[r][c][e] * s[r][c][e];
      weight = at.head_sum(weight) + n.epsilon;
      const float inverse = at.token(i, r) < n.Nq ? 1 / weight : 0.0f;
      const float e_token = -at.head_sum(along) * inverse;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        own[r][e] = at.of_part(f, r, e) * inverse;
        sums.last[e] += own[r][e] * e_token;
      }
#pragma unroll
      for (int c = 0; c < chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e) s[r][c][e] = (s[r][c][e] + e_token * z[c][e]) * inverse;
    }
    sums.template add<Planes>(own, g);
    if (!dq.wanted()) continue;
    if constexpr (chunks == 1)
      if (n.unit_q) unit.back(at, f, s);
    Values<1> slope;
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int e = 0; e < 8; ++e)
        slope[r][0][e] = chunks > 1 && at.part ? x.x[r][chunks - 1].value(e) : x.x[r][0].value(e);
    slopes(n.feature, slope);
    const bool channels = chunks > 1 && at.part ? at.exists[chunks - 1] : at.exists[0];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float grad[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) grad[e] = at.of_part(s, r, e) * slope[r][0][e];
      if (at.token(i, r) < n.Nq && channels)
        to.put(r, at.part, grad, dq.mode == GradMode::accumulate);
    }
    to.advance();
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
