// Attention backward, the gradients of keys and values:
//
//   P = 2^(S − L), dP = dy vᵀ, dS = P ∘ (dP − δ), dv = Pᵀ dy, dk = scale · dSᵀ q.
//
// Work: 4 · Nq · Nk · (D + Dv) flops a head; bound by the FMA units in float. A thread owns a few
// keys (k, v, dk and dv in registers); queries and their dy stream through shared memory and stay
// in registers between their two uses. Where keys are few, queries are split over warps and blocks,
// and the parts are added in order.
#include "general.hpp"
#include "mask.cuh"

namespace flr::cuda::attention {
namespace {

struct Aligned {
  bool q, k, v, dout;
};

/// Queries taken together: enough independent sums to hide the latency of an FMA.
inline constexpr int chunk = 2;

template <class L>
__global__ void __launch_bounds__(threads, L::resident)
    key_kernel(const __grid_constant__ SdpaBackwardParams<typename L::T> call,
               const __grid_constant__ Plan plan, Aligned aligned,
               const QueryStatistics<typename L::T>* statistics,
               const __grid_constant__ GradientTarget<typename L::T> k_target,
               const __grid_constant__ GradientTarget<typename L::T> v_target) {
  using C = typename L::C;
  constexpr int numbers = 2 * larger(L::tile_numbers, 32 * L::rows * L::quads * 4);
  __shared__ alignas(32) C memory[numbers];
  __shared__ alignas(32) Pack<C, 2> of_queries[L::tile];
  C *const queries = memory, *const slopes = memory + L::tile_numbers;
  const SdpaParams<typename L::T>& p = call.f;
  const int warp = int(threadIdx.x) / 32, own_warp = warp % plan.own_warps,
            loop_warp = warp / plan.own_warps, share = L::tile / plan.loop_warps;

  for (index_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    const index_t at = unit % plan.heads, block = unit / plan.heads % plan.blocks;
    const index_t split = unit / plan.heads / plan.blocks;
    const Mask<typename L::T> mask(p, at);
    const index_t block_first = block * plan.own_warps * L::group;
    const index_t first = block_first + own_warp * L::group;
    const index_t last = min(p.Nk, first + L::group) - 1;  // before `first` if the warp is idle
    const index_t end = min(split * plan.span + plan.span, p.Nq);
    index_t begin = split * plan.span;
    const index_t blind = mask.first_query(block_first) - begin;  // queries that see no key here
    if (blind > 0) begin += blind / L::tile * L::tile;

    typename L::Registers k, v, dk = {}, dv = {};
    load_rows<L>(k, head(p.k, p.ks, at, p.H), p.ks.row, first, p.Nk, int(p.D), aligned.k,
                 p.scale * log2_e<C>);
    load_rows<L>(v, head(p.v, p.vs, at, p.H), p.vs.row, first, p.Nk, int(p.Dv), aligned.v, C(1));
    bool restricted = mask.bias;  // whether scores of this warp must be looked at one by one
    if (mask.keep) {
      bool hides = false;
#pragma unroll
      for (int r = 0; r < L::rows; ++r) hides |= !mask.keep[min(first + L::row(r), p.Nk - 1)];
      restricted |= __any_sync(0xffffffffu, hides) != 0;
    }
    // Queries from this one on see all keys of the warp.
    const index_t plain = restricted ? end : mask.first_query(last);

    const auto* q = head(p.q, p.qs, at, p.H);
    const auto* dy = head(call.dout, call.dos, at, p.H);
    for (index_t i = begin; i < end; i += L::tile) {
      const int n = int(min(index_t{L::tile}, end - i));
      __syncthreads();  // what was there has been read
      load_tile<L>(queries, q + i * p.qs.row, p.qs.row, n, int(p.D), aligned.q);
      load_tile<L>(slopes, dy + i * call.dos.row, call.dos.row, n, int(p.Dv), aligned.dout);
      if (int(threadIdx.x) < L::tile)
        of_queries[threadIdx.x] =
            int(threadIdx.x) < n ? statistics[at * p.Nq + i + int(threadIdx.x)] : Pack<C, 2>{};
      __syncthreads();
      const int from = loop_warp * share;
      const int until = last < first ? 0 : min(n, from + share);
      for (int c = from; c < until; c += chunk) {
        C s[L::rows][chunk] = {}, slope[L::rows][chunk] = {};
        const C* const query = queries + c * L::depth + L::channel(0);
        const C* const slope_row = slopes + c * L::depth + L::channel(0);
        Pack<C, 4> x_q[chunk][L::quads], x_dy[chunk][L::quads];
#pragma unroll
        for (int t = 0; t < L::quads; ++t)
#pragma unroll
          for (int x = 0; x < chunk; ++x) {
            x_q[x][t] = quad_at(query + x * L::depth + t * L::lanes * 4);
            x_dy[x][t] = quad_at(slope_row + x * L::depth + t * L::lanes * 4);
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
              for (int r = 0; r < L::rows; ++r) {
                s[r][x] += k[r][t][e] * x_q[x][t].v[e];
                slope[r][x] += v[r][t][e] * x_dy[x][t].v[e];
              }
          }
        sum_lanes<L>(s);
        sum_lanes<L>(slope);
        if (i + c < plain || c + chunk > n) {
#pragma unroll
          for (int r = 0; r < L::rows; ++r)
#pragma unroll
            for (int x = 0; x < chunk; ++x) s[r][x] = mask(s[r][x], i + c + x, first + L::row(r));
        }
#pragma unroll
        for (int x = 0; x < chunk; ++x) {
          const auto query_statistics = of_queries[c + x];
#pragma unroll
          for (int r = 0; r < L::rows; ++r) {
            s[r][x] = exp2_of(s[r][x] - query_statistics.v[0]);
            slope[r][x] = s[r][x] * (slope[r][x] - query_statistics.v[1]);
          }
        }
#pragma unroll
        for (int x = 0; x < chunk; ++x)
#pragma unroll
          for (int t = 0; t < L::quads; ++t)
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
              for (int r = 0; r < L::rows; ++r) {
                dv[r][t][e] += s[r][x] * x_dy[x][t].v[e];
                dk[r][t][e] += slope[r][x] * x_q[x][t].v[e];
              }
      }
    }
    sum_warps<L>(dk, memory, own_warp, loop_warp, plan.loop_warps);
    sum_warps<L>(dv, memory, own_warp, loop_warp, plan.loop_warps);
    if (loop_warp != 0) continue;

    const auto store = [&](const typename L::Registers& x, C scale, int depth,
                           const GradientTarget<typename L::T>& target) {
      if (!target.wanted) return;
      C factor[L::rows];
#pragma unroll
      for (int r = 0; r < L::rows; ++r) factor[r] = scale;
      if (target.part)
        store_rows<L>(x, factor, target.part + (split * plan.heads + at) * p.Nk * depth,
                      index_t{depth}, first, p.Nk, depth, target.aligned, false);
      else
        store_rows<L>(x, factor, head(target.to, target.s, at, p.H), target.s.row, first, p.Nk,
                      depth, target.aligned, target.accumulate);
    };
    store(dk, p.scale, int(p.D), k_target);
    store(dv, C(1), int(p.Dv), v_target);
  }
}

}  // namespace

template <class T>
index_t key_gradients(const SdpaBackwardParams<T>& p, const QueryStatistics<T>* statistics) {
  const SdpaParams<T>& f = p.f;
  index_t splits = 1;
  if (p.dk_mode == GradMode::ignore && p.dv_mode == GradMode::ignore) return splits;
  with_layout<T, 2, 2>(f.D > f.Dv ? f.D : f.Dv, [&](auto layout) {
    using L = decltype(layout);
    const Plan plan = make_plan(f.B * f.H, f.Nk, f.Nq, L::group, L::tile, L::resident, f.D + f.Dv);
    splits = plan.splits;
    const Gradient<T> dk(f, p.dk, p.dks, p.dk_mode, f.Nk, f.D, plan.splits);
    const Gradient<T> dv(f, p.dv, p.dvs, p.dv_mode, f.Nk, f.Dv, plan.splits);
    const Aligned aligned{quads_align(f.q, f.qs, f.D), quads_align(f.k, f.ks, f.D),
                          quads_align(f.v, f.vs, f.Dv), quads_align(p.dout, p.dos, f.Dv)};
    if (plan.units() > 0) {
      key_kernel<L><<<grid_of(plan), threads, 0, stream()>>>(
          p, plan, aligned, statistics, dk.target(quads_align(p.dk, p.dks, f.D)),
          dv.target(quads_align(p.dv, p.dvs, f.Dv)));
      check_launch("sdpa_backward, keys");
    }
    dk.collect();
    dv.collect();
  });
  return splits;
}

template index_t key_gradients<float>(const SdpaBackwardParams<float>&,
                                      const QueryStatistics<float>*);
template index_t key_gradients<double>(const SdpaBackwardParams<double>&,
                                       const QueryStatistics<double>*);
template index_t key_gradients<bf16>(const SdpaBackwardParams<bf16>&, const QueryStatistics<bf16>*);

}  // namespace flr::cuda::attention
