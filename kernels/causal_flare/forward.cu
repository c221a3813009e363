// Outputs of causal FLARE: y = tril(a bᵀ) v + a Z for the ranges of a segment's tiles.
#include "causal_flare/ranges.cuh"

namespace flr::cuda::latents {
namespace {

template <class T, int M, int W>
__global__ void __launch_bounds__(threads, blocks_at_once(M, W))
    forward_kernel(Problem<T> p, States states, Heads<T> y) {
  extern __shared__ uint4 memory[];
  __shared__ Marks<M> marks;
  const Memory<T, M, W> in(memory);
  const Place at(p);
  Sums<T, W, M> z;
  begin_segment<T, M, W>(marks, z, states, at, p.segments);
  load_latents<W, M>(in.q, p, at);
  for (index_t first = at.first; first < at.end; first += tile) {
    __syncthreads();  // the last tile is used up
    load_tokens<W>(in.k, p.k, at, first, p.E, p.k_packed);
    load_tokens<W>(in.v, p.v, at, first, p.D, p.v_packed);
    mark_kept(marks, p, at, first);
    __syncthreads();
    make_scores(in, p.log2_scale);
    __syncthreads();
    sum_over_latents(marks, in.s, p.M);

    Sums<T, tile, W> out;
    for (int from = 0; from < tile;) {
      const Range range = fit_range(marks, in.s, from, p.M);
      make_features<true>(marks, in, range, p.M);
      __syncthreads();
      decay_state<T, M, W>(z, marks);
      to_tile<M>(in.state, z);
      Sums<T, tile, tile> products;
      products.template add<M>(along(in.a, M), along(in.b, M));
      to_lower_triangle(in.square, products);
      __syncthreads();
      out.template add<tile>(along(in.square, tile), across(in.v, W));
      out.template add<M>(along(in.a, M), along(in.state, M));
      z.template add<tile>(across(in.v, W), across(in.b, M));
      from = range.to;
    }
    T* to = at.of(y);
    out.each([&](int t, int d, float& x) {
      if (d < p.D && first + t < at.end) to[(first + t) * y.s.row + d] = from_compute<T>(x);
    });
  }
}

}  // namespace

template <class T, int M, int W>
void forward(const Problem<T>& p, const States& states, const Heads<T>& y) {
  constexpr int bytes = Memory<T, M, W>::bytes(Memory<T, M, W>::queries);
  allow_shared(forward_kernel<T, M, W>, bytes, "causal_flare");
  forward_kernel<T, M, W><<<p.blocks(), threads, bytes, stream()>>>(p, states, y);
  check_launch("causal_flare");
}

#define FLR_FORWARD(T, M)                                                             \
  template void forward<T, M, 16>(const Problem<T>&, const States&, const Heads<T>&); \
  template void forward<T, M, 32>(const Problem<T>&, const States&, const Heads<T>&); \
  template void forward<T, M, 64>(const Problem<T>&, const States&, const Heads<T>&);
FLR_FORWARD(float, 32)
FLR_FORWARD(float, 64)
FLR_FORWARD(float, 128)
FLR_FORWARD(bf16, 32)
FLR_FORWARD(bf16, 64)
FLR_FORWARD(bf16, 128)

}  // namespace flr::cuda::latents
