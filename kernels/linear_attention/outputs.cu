// Forward, second pass: y = Sᵀφ(q) / (φ(q)·z + ε).
#include "linear_attention/launch.cuh"

namespace flr::cuda::linear_attention {
namespace {

template <class T, int W, int Planes>
__global__ void __launch_bounds__(threads)
    outputs_kernel(Sizes n, Heads<const T> q, const float* state, Heads<T> y) {
  extern __shared__ Pair fragments[];
  constexpr int chunks = W / 32;
  const Place<W> at(n);
  Cursor<const T> from(q, at);
  Cursor<T> to(y, at);
  Stored<T, chunks> next;
  from.load(at, at.split, n.Nq, next);
  float z[chunks][8];
  load_last<chunks>(n, at, state, z);
  fill_fragments<W, Planes>(n, state, false, fragments);
  __syncthreads();
  if (!at.group_exists) return;
  const Pair* mine = fragments + at.slot * fragment_pairs<W, Planes>;
  const index_t tiles = (n.Nq + tile - 1) / tile;
  for (index_t i = at.split; i < tiles; i += at.splits) {
    Values<chunks> f, o = {};
    next.values(f);
    from.advance();
    from.load(at, i + at.splits, n.Nq, next);
    features<chunks>(n.feature, f);
    if constexpr (chunks == 1)
      if (n.unit_q) Unit(at, f);
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float weight = 0;
#pragma unroll
      for (int c = 0; c < chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e) weight += f[r][c][e] * z[c][e];
      inverse[r] = 1 / (at.head_sum(weight) + n.epsilon);
    }
    add_product<W, Planes>(f, mine, o);
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < chunks; ++c) {
#pragma unroll
        for (int e = 0; e < 8; ++e) o[r][c][e] *= inverse[r];
        if (at.exists[c] && at.token(i, r) < n.Nq) to.put(r, c, o[r][c], false);
      }
    to.advance();
  }
}

}  // namespace

template <class T>
void query_outputs(const Sizes& n, const Heads<const T>& q, const float* state, const Heads<T>& y) {
  with_width<T>(n.D, [&]<int W, int Planes>() {
    const int shared = n.beside * fragment_pairs<W, Planes> * int(sizeof(Pair));
    allow_shared(outputs_kernel<T, W, Planes>, shared, "linear_attention_outputs");
    const Grid grid = grid_of(outputs_kernel<T, W, Planes>, n, n.Nq, 1, shared);
    outputs_kernel<T, W, Planes><<<grid.blocks, threads, shared, stream()>>>(n, q, state, y);
    check_launch("linear_attention_outputs");
  });
}
template void query_outputs(const Sizes&, const Heads<const float>&, const float*, const Heads<float>&);
template void query_outputs(const Sizes&, const Heads<const bf16>&, const float*, const Heads<bf16>&);

}  // namespace flr::cuda::linear_attention
