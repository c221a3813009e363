// Attention forward, any sizes: y = softmax(scale · q kᵀ + bias) v by online softmax.
//
// Work: 2 · Nq · Nk · (D + Dv) flops and Nq · Nk exponentials a head; bound by the FMA units in
// float. A thread owns a few queries: their q, running maximum, running sum and weighted sum of
// values stay in its registers, keys and values stream through shared memory, where all threads
// read the same ones. Scores never leave a thread, so there is no exchange of probabilities. Blocks
// own queries; where these are few, keys are split over warps and blocks (plan.hpp) and the states
// of the parts are merged in order.
#include "general.hpp"
#include "mask.cuh"

namespace flr::cuda::attention {
namespace {

struct Aligned {
  bool q, k, v, o;
};

/// The state of online softmax of a thread's queries.
template <class L>
struct State {
  using C = typename L::C;
  typename L::Registers o = {};
  C top[L::rows], sum[L::rows];

  __device__ State() {
#pragma unroll
    for (int r = 0; r < L::rows; ++r) top[r] = minus_infinity<C>(), sum[r] = 0;
  }
  /// What scores are measured from: the maximum, or 0 if there was no key, so that 2^(−∞ − 0) is 0.
  static __device__ C reference(C top) {
    return top == minus_infinity<C>() ? C(0) : top;
  }

  __device__ void rescale(int r, C factor) {
    sum[r] *= factor;
#pragma unroll
    for (int q = 0; q < L::quads; ++q)
#pragma unroll
      for (int e = 0; e < 4; ++e) o[r][q][e] *= factor;
  }

  /// Turns scores into weights, after raising the maxima to them.
  template <int N>
  __device__ void weigh(C (&s)[L::rows][N]) {
    C raised[L::rows];
    bool grows = false;
#pragma unroll
    for (int r = 0; r < L::rows; ++r) {
      raised[r] = top[r];
#pragma unroll
      for (int c = 0; c < N; ++c) raised[r] = s[r][c] > raised[r] ? s[r][c] : raised[r];
      grows |= raised[r] > top[r];
    }
    if (__any_sync(0xffffffffu, grows)) {  // seldom, after the first keys
#pragma unroll
      for (int r = 0; r < L::rows; ++r) {
        rescale(r, exp2_of(top[r] - reference(raised[r])));
        top[r] = raised[r];
      }
    }
#pragma unroll
    for (int r = 0; r < L::rows; ++r) {
      const C zero = reference(top[r]);
      C total = 0;
#pragma unroll
      for (int c = 0; c < N; ++c) total += s[r][c] = exp2_of(s[r][c] - zero);
      sum[r] += total;
    }
  }
};

/// Takes the states of the other loop warps in, in their order; complete in loop warp 0.
template <class L>
__device__ void merge_warps(State<L>& a, typename L::C* memory, int own_warp, int loop_warp,
                            int loop_warps) {
  using C = typename L::C;
  constexpr int numbers = L::quads * 4 + 2;  // of a query
  C* const at = memory + own_warp * (L::rows * numbers * 32) + int(threadIdx.x) % 32;
  for (int w = 1; w < loop_warps; ++w) {
    __syncthreads();
    if (loop_warp == w) {
#pragma unroll
      for (int r = 0; r < L::rows; ++r) {
        C* const to = at + r * numbers * 32;
        to[0] = a.top[r], to[32] = a.sum[r];
#pragma unroll
        for (int q = 0; q < L::quads; ++q)
#pragma unroll
          for (int e = 0; e < 4; ++e) to[(2 + q * 4 + e) * 32] = a.o[r][q][e];
      }
    }
    __syncthreads();
    if (loop_warp == 0) {
#pragma unroll
      for (int r = 0; r < L::rows; ++r) {
        const C* const from = at + r * numbers * 32;
        const C top = from[0], raised = top > a.top[r] ? top : a.top[r];
        const C zero = State<L>::reference(raised), factor = exp2_of(top - zero);
        a.rescale(r, exp2_of(a.top[r] - zero));
        a.top[r] = raised;
        a.sum[r] += from[32] * factor;
#pragma unroll
        for (int q = 0; q < L::quads; ++q)
#pragma unroll
          for (int e = 0; e < 4; ++e) a.o[r][q][e] += from[(2 + q * 4 + e) * 32] * factor;
      }
    }
  }
}

/// Keys of which a thread computes the scores before it weighs them.
inline constexpr int chunk = 4;

template <class L>
constexpr int forward_numbers = 2 * larger(L::tile_numbers, 32 * L::rows * (L::quads * 4 + 2));

template <class L>
__global__ void __launch_bounds__(threads, L::resident)
    forward_kernel(const __grid_constant__ SdpaParams<typename L::T> p,
                   const __grid_constant__ Plan plan, Aligned aligned, typename L::C* sums,
                   Pack<typename L::C, 2>* states) {
  using C = typename L::C;
  __shared__ alignas(32) C memory[forward_numbers<L>];
  C *const keys = memory, *const values = memory + L::tile_numbers;
  const int warp = int(threadIdx.x) / 32, own_warp = warp % plan.own_warps,
            loop_warp = warp / plan.own_warps, share = L::tile / plan.loop_warps;

  for (index_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    const index_t at = unit % plan.heads, block = unit / plan.heads % plan.blocks;
    const index_t split = unit / plan.heads / plan.blocks;
    const Mask<typename L::T> mask(p, at);
    const index_t block_first = block * plan.own_warps * L::group;
    const index_t block_last = min(p.Nq, block_first + plan.own_warps * L::group) - 1;
    const index_t first = block_first + own_warp * L::group;
    const index_t last = min(p.Nq, first + L::group) - 1;  // before `first` if the warp is idle
    const index_t begin = split * plan.span;
    const index_t end = min(begin + plan.span, mask.visible(block_last));
    const index_t seen = last < first ? 0 : mask.visible(last);

    typename L::Registers q;
    load_rows<L>(q, head(p.q, p.qs, at, p.H), p.qs.row, first, p.Nq, int(p.D), aligned.q,
                 p.scale * log2_e<C>);
    const auto* k = head(p.k, p.ks, at, p.H);
    const auto* v = head(p.v, p.vs, at, p.H);
    State<L> state;
    for (index_t j = begin; j < end; j += L::tile) {
      const int n = int(min(index_t{L::tile}, end - j));
      __syncthreads();  // what was there has been read
      load_tile<L>(keys, k + j * p.ks.row, p.ks.row, n, int(p.D), aligned.k);
      load_tile<L>(values, v + j * p.vs.row, p.vs.row, n, int(p.Dv), aligned.v);
      const bool hides =
          __syncthreads_or(mask.keep && int(threadIdx.x) < n && !mask.keep[j + int(threadIdx.x)]);
      const int from = loop_warp * share;
      const int until = int(max(index_t{0}, min(index_t{min(n, from + share)}, seen - j)));
      // Keys before this one are seen by all queries of the warp.
      const index_t plain = mask.bias || hides ? j : min(mask.visible(first), j + n);
      for (int c = from; c < until; c += chunk) {
        C s[L::rows][chunk] = {};
        const C* const key = keys + c * L::depth + L::channel(0);
#pragma unroll
        for (int t = 0; t < L::quads; ++t)
#pragma unroll
          for (int x = 0; x < chunk; ++x) {
            const auto y = quad_at(key + x * L::depth + t * L::lanes * 4);
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
              for (int r = 0; r < L::rows; ++r) s[r][x] += q[r][t][e] * y.v[e];
          }
        sum_lanes<L>(s);
        if (j + c + chunk > plain) {
#pragma unroll
          for (int r = 0; r < L::rows; ++r)
#pragma unroll
            for (int x = 0; x < chunk; ++x) s[r][x] = mask(s[r][x], first + L::row(r), j + c + x);
        }
        state.weigh(s);
        const C* const value = values + c * L::depth + L::channel(0);
#pragma unroll
        for (int x = 0; x < chunk; ++x)
#pragma unroll
          for (int t = 0; t < L::quads; ++t) {
            const auto y = quad_at(value + x * L::depth + t * L::lanes * 4);
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
              for (int r = 0; r < L::rows; ++r) state.o[r][t][e] += s[r][x] * y.v[e];
          }
      }
    }
    merge_warps(state, memory, own_warp, loop_warp, plan.loop_warps);
    if (loop_warp != 0) continue;

    C factor[L::rows];
    const index_t rows = at * p.Nq;  // before those of this head
#pragma unroll
    for (int r = 0; r < L::rows; ++r) {
      const index_t i = first + L::row(r);
      const bool mine = L::channel(0) == 0 && i < p.Nq, none = state.sum[r] == 0;
      factor[r] = plan.splits > 1 ? C(1) : none ? C(0) : 1 / state.sum[r];
      if (!mine) continue;
      if (plan.splits > 1)
        states[(split * plan.heads * p.Nq) + rows + i] = {state.top[r], state.sum[r]};
      else if (p.lse)
        p.lse[rows + i] = none ? minus_infinity<C>()
                               : state.reference(state.top[r]) * ln_2<C> + log(state.sum[r]);
    }
    if (plan.splits > 1)
      store_rows<L>(state.o, factor, sums + (split * plan.heads * p.Nq + rows) * p.Dv, p.Dv, first,
                    p.Nq, int(p.Dv), p.Dv % 4 == 0, false);
    else
      store_rows<L>(state.o, factor, head(p.o, p.os, at, p.H), p.os.row, first, p.Nq, int(p.Dv),
                    aligned.o, false);
  }
}

template <class L>
index_t launch(const SdpaParams<typename L::T>& p) {
  using C = typename L::C;
  const Plan plan = make_plan(p.B * p.H, p.Nq, p.Nk, L::group, L::tile, L::resident, p.Dv + 2);
  const index_t parts = plan.splits > 1 ? plan.splits * plan.heads * p.Nq : 0;
  const Scratch<C> sums(parts * p.Dv + 1);
  const Scratch<Pack<C, 2>> states(parts + 1);
  const Aligned aligned{quads_align(p.q, p.qs, p.D), quads_align(p.k, p.ks, p.D),
                        quads_align(p.v, p.vs, p.Dv), quads_align(p.o, p.os, p.Dv)};
  forward_kernel<L><<<grid_of(plan), threads, 0, stream()>>>(p, plan, aligned, sums, states);
  check_launch("sdpa");
  if (plan.splits > 1) merge_states(p, plan.splits, sums.data(), states.data());
  return plan.splits;
}

}  // namespace

template <class T>
index_t general_forward(const SdpaParams<T>& p) {
  if (p.B * p.H * p.Nq == 0) return 1;
  const index_t depth = p.D > p.Dv ? p.D : p.Dv;
  index_t splits = 1;
  const auto run = [&](auto layout) { splits = launch<decltype(layout)>(p); };
  if constexpr (!std::is_same_v<T, double>)
    if (p.Nq <= 64 && depth <= 16) {  // two queries a thread: a warp holds 64, all in use
      if (depth <= 8)
        run(Layout<T, 2, 1, 2, 3>{});
      else
        run(Layout<T, 4, 1, 2, 3>{});
      return splits;
    }
  with_layout<T, 4, 2>(depth, run);
  return splits;
}

template index_t general_forward<float>(const SdpaParams<float>&);
template index_t general_forward<double>(const SdpaParams<double>&);
template index_t general_forward<bf16>(const SdpaParams<bf16>&);

}  // namespace flr::cuda::attention
