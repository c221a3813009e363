// Attention backward, the gradient of the queries:
//
//   P = 2^(S − L), dP = dy vᵀ, dS = P ∘ (dP − δ), dq = scale · dS k.
//
// Work: 2 · Nq · Nk · (2 D + Dv) flops a head; bound by the FMA units in float. As in the forward
// pass a thread owns a few queries (q, dy and dq in registers) and keys stream through shared
// memory; a row of keys stays in registers between its two uses. Where queries are few, keys are
// split over warps and blocks, and the parts of dq are added in order.
#include "general.hpp"
#include "mask.cuh"

namespace flr::cuda::attention {
namespace {

struct Aligned {
  bool q, k, v, dout;
};

/// Keys taken together: enough independent sums to hide the latency of an FMA.
inline constexpr int chunk = 2;

template <class L>
__global__ void __launch_bounds__(threads, L::resident)
    query_kernel(const __grid_constant__ SdpaBackwardParams<typename L::T> call,
                 const __grid_constant__ Plan plan, Aligned aligned,
                 const QueryStatistics<typename L::T>* statistics,
                 const __grid_constant__ GradientTarget<typename L::T> target) {
  using C = typename L::C;
  constexpr int numbers = 2 * larger(L::tile_numbers, 32 * L::rows * L::quads * 4);
  __shared__ alignas(32) C memory[numbers];
  C *const keys = memory, *const values = memory + L::tile_numbers;
  const SdpaParams<typename L::T>& p = call.f;
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

    typename L::Registers q, dy, dq = {};
    load_rows<L>(q, head(p.q, p.qs, at, p.H), p.qs.row, first, p.Nq, int(p.D), aligned.q,
                 p.scale * log2_e<C>);
    load_rows<L>(dy, head(call.dout, call.dos, at, p.H), call.dos.row, first, p.Nq, int(p.Dv),
                 aligned.dout, C(1));
    C lse[L::rows], delta[L::rows];
#pragma unroll
    for (int r = 0; r < L::rows; ++r) {
      const auto s = statistics[at * p.Nq + min(first + L::row(r), p.Nq - 1)];
      lse[r] = s.v[0], delta[r] = s.v[1];
    }

    const auto* k = head(p.k, p.ks, at, p.H);
    const auto* v = head(p.v, p.vs, at, p.H);
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
        C s[L::rows][chunk] = {}, slope[L::rows][chunk] = {};
        const C* const key = keys + c * L::depth + L::channel(0);
        const C* const value = values + c * L::depth + L::channel(0);
        Pack<C, 4> row[chunk][L::quads];
#pragma unroll
        for (int t = 0; t < L::quads; ++t)
#pragma unroll
          for (int x = 0; x < chunk; ++x) {
            row[x][t] = quad_at(key + x * L::depth + t * L::lanes * 4);
            const auto y = quad_at(value + x * L::depth + t * L::lanes * 4);
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
              for (int r = 0; r < L::rows; ++r) {
                s[r][x] += q[r][t][e] * row[x][t].v[e];
                slope[r][x] += dy[r][t][e] * y.v[e];
              }
          }
        sum_lanes<L>(s);
        sum_lanes<L>(slope);
        if (j + c + chunk > plain) {
#pragma unroll
          for (int r = 0; r < L::rows; ++r)
#pragma unroll
            for (int x = 0; x < chunk; ++x) s[r][x] = mask(s[r][x], first + L::row(r), j + c + x);
        }
#pragma unroll
        for (int x = 0; x < chunk; ++x)
#pragma unroll
          for (int r = 0; r < L::rows; ++r)
            slope[r][x] = exp2_of(s[r][x] - lse[r]) * (slope[r][x] - delta[r]);
#pragma unroll
        for (int x = 0; x < chunk; ++x)
#pragma unroll
          for (int t = 0; t < L::quads; ++t)
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
              for (int r = 0; r < L::rows; ++r) dq[r][t][e] += slope[r][x] * row[x][t].v[e];
      }
    }
    sum_warps<L>(dq, memory, own_warp, loop_warp, plan.loop_warps);
    if (loop_warp != 0) continue;

    C factor[L::rows];
#pragma unroll
    for (int r = 0; r < L::rows; ++r) factor[r] = p.scale;
    if (target.part)
      store_rows<L>(dq, factor, target.part + (split * plan.heads + at) * p.Nq * p.D, p.D, first,
                    p.Nq, int(p.D), target.aligned, false);
    else
      store_rows<L>(dq, factor, head(target.to, target.s, at, p.H), target.s.row, first, p.Nq,
                    int(p.D), target.aligned, target.accumulate);
  }
}

}  // namespace

template <class T>
index_t query_gradient(const SdpaBackwardParams<T>& p, const QueryStatistics<T>* statistics) {
  const SdpaParams<T>& f = p.f;
  index_t splits = 1;
  if (p.dq_mode == GradMode::ignore) return splits;
  with_layout<T, 2, 3>(f.D > f.Dv ? f.D : f.Dv, [&](auto layout) {
    using L = decltype(layout);
    const Plan plan = make_plan(f.B * f.H, f.Nq, f.Nk, L::group, L::tile, L::resident, f.D);
    splits = plan.splits;
    const Gradient<T> dq(f, p.dq, p.dqs, p.dq_mode, f.Nq, f.D, plan.splits);
    const Aligned aligned{quads_align(f.q, f.qs, f.D), quads_align(f.k, f.ks, f.D),
                          quads_align(f.v, f.vs, f.Dv), quads_align(p.dout, p.dos, f.Dv)};
    if (plan.units() > 0) {
      query_kernel<L><<<grid_of(plan), threads, 0, stream()>>>(
          p, plan, aligned, statistics, dq.target(quads_align(p.dq, p.dqs, f.D)));
      check_launch("sdpa_backward, queries");
    }
    dq.collect();
  });
  return splits;
}

template index_t query_gradient<float>(const SdpaBackwardParams<float>&,
                                       const QueryStatistics<float>*);
template index_t query_gradient<double>(const SdpaBackwardParams<double>&,
                                        const QueryStatistics<double>*);
template index_t query_gradient<bf16>(const SdpaBackwardParams<bf16>&,
                                      const QueryStatistics<bf16>*);

}  // namespace flr::cuda::attention
