// Backward, first pass, over queries: with d the denominators and t = S dy,
//
//   e = −(φ(q)·t)/d,   dφ(q) = (t + e z)/d,
//   the state's gradient [R|w]:   R = Σ φ(q)/d dyᵀ,   w = Σ e φ(q)/d
#include "linear_attention/launch.cuh"

namespace flr::cuda::linear_attention {
namespace {

/// Whether tiles wait in shared memory, which has no room for those of wide floats.
template <class T, int W>
inline constexpr bool ahead = sizeof(T) * W <= 128;
/// Bytes of a warp's tiles: q and dy, this one and the next.
template <class T, int W>
inline constexpr int waiting_bytes = ahead<T, W> ? 4 * Slot<T, W / 32>::bytes : 0;
/// Blocks that the registers of a multiprocessor have to suffice for: eight warps alone wait for memory
/// most of the time. Wider states would spill too much.
template <class T, int W>
inline constexpr int blocks_at_once = sizeof(T) * W <= 64 ? 2 : 1;

template <class T, int W, int Planes>
__global__ void __launch_bounds__(threads, blocks_at_once<T, W>)
    queries_kernel(Sizes n, Heads<const T> q, Heads<const T> dy, const float* state, float* parts,
                   GradOf<T> dq) {
  extern __shared__ __align__(16) Pair fragments[];
  constexpr int chunks = W / 32;
  const Place<W, chunks> at(n);
  Cursor<const T> from_q(q, at), from_dy(dy, at);
  Cursor<T> to(dq, at);
  const unsigned waiting = shared_address(fragments + n.beside * fragment_pairs<W, Planes>) +
                           threadIdx.x / 32 * waiting_bytes<T, W> + threadIdx.x % 32 * 16;
  const auto slot = [&](int turn, int tensor) {
    return Slot<T, chunks>{waiting + unsigned((2 * turn + tensor) * Slot<T, chunks>::bytes)};
  };
  const auto begin = [&](index_t i, int turn) {
    from_q.copy(at, i, n.Nq, slot(turn, 0)), from_dy.copy(at, i, n.Nq, slot(turn, 1));
    end_of_copies();
    from_q.advance(), from_dy.advance();
  };
  int turn = 0;
  if constexpr (ahead<T, W>) begin(at.split, turn);
  float z[chunks][8];
  load_last<chunks>(n, at, state, z);
  fill_fragments<W, Planes>(n, state, true, fragments);
  __syncthreads();
  if (!at.group_exists) return;
  const Pair* mine = fragments + at.slot * fragment_pairs<W, Planes>;
  const index_t tiles = (n.Nq + tile - 1) / tile;
  Sums<W> sums;
  for (index_t i = at.split; i < tiles; i += at.splits, turn ^= 1) {
    Stored<T, chunks> x, g;
    if constexpr (ahead<T, W>) {
      begin(i + at.splits, turn ^ 1);
      wait_for_copies_but<1>();
      slot(turn, 0).read(x);
    } else {
      from_q.load(at, i, n.Nq, x), from_dy.load(at, i, n.Nq, g);
      from_q.advance(), from_dy.advance();
    }
    Values<chunks> f, s = {};
    x.values(f);
    features<chunks>(n.feature, f);
    [[maybe_unused]] Unit unit;
    if constexpr (chunks == 1)
      if (n.unit_q) unit = Unit(at, f);
    if constexpr (ahead<T, W>) slot(turn, 1).read(g);
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
    if (dq.wanted()) {  // before the sums, which need the registers
      if constexpr (chunks == 1)
        if (n.unit_q) unit.back(at, f, s);
      if constexpr (ahead<T, W>) slot(turn, 0).read(x);
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
    // Read again, as x above: cheaper than registers in the meantime.
    if constexpr (ahead<T, W>) slot(turn, 1).read(g);
    sums.template add<Planes>(own, g);
  }
  sums.write(n, at, parts);
}

}  // namespace

template <class T>
void query_gradients(const Sizes& n, const Heads<const T>& q, const Heads<const T>& dy,
                     const float* state, float* slope, const GradOf<T>& dq) {
  with_width<T>(n.D, [&]<int W, int Planes>() {
    const int shared =
        n.beside * fragment_pairs<W, Planes> * int(sizeof(Pair)) + warps * waiting_bytes<T, W>;
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
