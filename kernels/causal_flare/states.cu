// What every segment leaves by itself: L and Z = Σ 2^(s − L) v, from nothing.
#include "causal_flare/ranges.cuh"

namespace flr::cuda::latents {
namespace {

template <class T, int M, int W>
__global__ void __launch_bounds__(threads, blocks_at_once(M, W))
    states_kernel(Problem<T> p, float* states, float* own_lse) {
  extern __shared__ uint4 memory[];
  __shared__ Marks<M> marks;
  const Memory<T, M, W> in(memory);
  const Place at(p);
  Sums<T, W, M> z;
  begin_segment<T, M, W>(marks, z, States{}, at, p.segments);
  load_latents<W, M>(in.q, p, at);
  for (index_t first = at.first; first < at.end; first += tile) {
    __syncthreads();  // the last tile is used up
    load_tokens<W>(in.k, p.k, at, first, p.E, p.k_packed);
    load_tokens<W>(in.v, p.v, at, first, p.D, p.v_packed);
    mark_kept(marks, p, at, first);
    __syncthreads();
    make_scores(in, p.log2_scale);
    __syncthreads();
    // Keys are at most 1 whatever L grows by, so the tile is one range.
    const Range range = make_range(marks, in.s, 0, tile, p.M);
    __syncthreads();  // the start has been read
    make_features<false>(marks, in, range, p.M);
    __syncthreads();
    decay_state<T, M, W>(z, marks);
    z.template add<tile>(across(in.v, W), across(in.b, M));
  }
  save_state<T, M, W>(z, states + at.item * (W * M));
  for (int m = threadIdx.x; m < M; m += threads) own_lse[at.item * M + m] = marks.start[m];
}

}  // namespace

template <class T, int M, int W>
void make_states(const Problem<T>& p, const States& states, const Carried& carried) {
  if (!states.z) return;
  const Scratch<float> own_lse(p.B * p.H * p.segments * M);
  constexpr int bytes = Memory<T, M, W>::bytes(Memory<T, M, W>::keys);
  allow_shared(states_kernel<T, M, W>, bytes, "causal_flare, states");
  states_kernel<T, M, W><<<p.blocks(), threads, bytes, stream()>>>(p, states.z, own_lse.data());
  check_launch("causal_flare, states");
  carry(states, own_lse.data(), carried, p.B * p.H, p.segments, p.M, p.D, M, W);
}

#define FLR_STATES(T, M)                                                                 \
  template void make_states<T, M, 16>(const Problem<T>&, const States&, const Carried&); \
  template void make_states<T, M, 32>(const Problem<T>&, const States&, const Carried&); \
  template void make_states<T, M, 64>(const Problem<T>&, const States&, const Carried&);
FLR_STATES(float, 32)
FLR_STATES(float, 64)
FLR_STATES(float, 128)
FLR_STATES(bf16, 32)
FLR_STATES(bf16, 64)
FLR_STATES(bf16, 128)

}  // namespace flr::cuda::latents
