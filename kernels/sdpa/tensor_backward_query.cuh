// Attention backward on tensor cores, the gradient of the queries:
//
//   P = 2^(S − L), dP = dy vᵀ, dS = P ∘ (dP − δ), dq = scale · dS k.
//
// Bound by one exponential a score up to D = 32, by products beyond. As in the forward pass a warp
// owns queries (q, dy and the sums of dq in registers) and keys stream through shared memory; −δ is
// what the product dy vᵀ is added to.
#pragma once

#include "general.hpp"
#include "tensor_mask.cuh"

namespace flr::cuda::attention::tensor {

template <class T, int Depth>
struct QueryTiling {
  static constexpr int bytes = row_bytes<T, Depth>;
  static constexpr int groups = bytes <= 128 ? 2 : 1;              ///< of sixteen queries, a warp
  static constexpr int tile = bytes <= 128 ? 128 : 64, step = 16;  ///< of keys
  static constexpr int resident = bytes <= 32   ? 4
                                  : bytes <= 64 ? 3
                                                : 2;  ///< as registers leave room
  static constexpr int tile_bytes = tile * bytes;
  static constexpr int shared_bytes = 4 * tile_bytes;  ///< two tiles of keys and two of values
  static_assert(tile <= threads && tile / warps % step == 0);
  static_assert(warps / 2 * groups * Depth / 2 * 32 * 4 <= shared_bytes);  // what sum_warps needs
};

template <class T, int Depth>
__global__ void __launch_bounds__(threads, QueryTiling<T, Depth>::resident)
    query_kernel(const __grid_constant__ SdpaBackwardParams<T> call,
                 const __grid_constant__ Plan plan, const QueryStatistics<T>* statistics,
                 const __grid_constant__ GradientTarget<T> target) {
  using F = QueryTiling<T, Depth>;
  constexpr int G = F::groups;
  extern __shared__ uint4 tensor_memory[];
  __shared__ HiddenKeys hidden_keys;
  const SdpaParams<T>& p = call.f;
  const unsigned memory = shared_address(tensor_memory);
  const Tile<T, Depth> lanes;
  const int warp = int(threadIdx.x) / 32, own_warp = warp % plan.own_warps,
            loop_warp = warp / plan.own_warps, share = F::tile / plan.loop_warps;
  const int g = int(threadIdx.x) % 32 / 4;
  const float scale = p.scale * log2_e<float>;

  for (index_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    const index_t at = unit % plan.heads, split = unit / plan.heads / plan.blocks;
    // Causal: the last queries have most to do, and come first.
    const index_t block = plan.blocks - 1 - unit / plan.heads % plan.blocks;
    const Mask<T> mask(p, at);
    const index_t block_first = block * plan.own_warps * 16 * G;
    const index_t block_last = min(p.Nq, block_first + plan.own_warps * 16 * G) - 1;
    const index_t first = block_first + own_warp * 16 * G;
    const index_t last = min(p.Nq, first + 16 * G) - 1;  // before `first` if the warp is idle
    const index_t begin = split * plan.span;
    const index_t end = min(begin + plan.span, mask.visible(block_last));
    const index_t seen = last < first ? 0 : mask.visible(last), all_see = mask.visible(first);

    const T* k = head(p.k, p.ks, at, p.H) + begin * p.ks.row;
    const T* v = head(p.v, p.vs, at, p.H) + begin * p.vs.row;
    const auto copy_next = [&](index_t left, unsigned stage) {
      const int n = int(min(index_t{F::tile}, left));
      const unsigned to = memory + stage * (2 * F::tile_bytes);
      Tile<T, Depth>::template copy<F::tile>(to, k, p.ks.row, n, int(p.D));
      Tile<T, Depth>::template copy<F::tile>(to + F::tile_bytes, v, p.vs.row, n, int(p.Dv));
      k += F::tile * p.ks.row, v += F::tile * p.vs.row;
    };
    __syncthreads();  // what the last unit left there has been read
    if (begin < end) copy_next(end - begin, 0);
    Operand<T, Depth> q[G], dy[G];
    Sums<Depth> dq[G] = {};
    float lse[G][2], delta[G][2];
#pragma unroll
    for (int m = 0; m < G; ++m) {
      load_operand<Depth>(q[m], head(p.q, p.qs, at, p.H), p.qs.row, first + 16 * m, p.Nq, int(p.D));
      load_operand<Depth>(dy[m], head(call.dout, call.dos, at, p.H), call.dos.row, first + 16 * m,
                          p.Nq, int(p.Dv));
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const auto s = statistics[at * p.Nq + min(first + 16 * m + g + 8 * r, p.Nq - 1)];
        lse[m][r] = s.v[0], delta[m][r] = s.v[1];
      }
    }

    unsigned stage = 0;
    for (index_t j = begin; j < end; j += F::tile, stage ^= 1) {
      const int n = int(min(index_t{F::tile}, end - j));
      wait_for_copies();
      const int hidden = note_hidden(hidden_keys, stage, mask.keep ? mask.keep + j : nullptr, n);
      if (j + F::tile < end) copy_next(end - j - F::tile, stage ^ 1);  // nobody reads it any more
      if (hidden == n) continue;
      const unsigned keys = memory + stage * (2 * F::tile_bytes), values = keys + F::tile_bytes;
      const int from = loop_warp * share;
      const int until = min(min(n, from + share), in_tile(seen - j, F::tile));
      // Keys before this one are seen by all queries of the warp.
      const int plain = hidden ? 0 : min(in_tile(all_see - j, F::tile), n);
      for (int c = from; c < until; c += F::step) {
        float s[G][2][4] = {}, slope[G][2][4];
#pragma unroll
        for (int m = 0; m < G; ++m)
#pragma unroll
          for (int e = 0; e < 8; ++e) slope[m][e / 4][e % 4] = -delta[m][e % 4 / 2];
#pragma unroll
        for (int i = 0; i < slices<T, Depth>; ++i) {
          Slice<T, Depth> b;
          lanes.columns(b, keys, c, i);
#pragma unroll
          for (int m = 0; m < G; ++m) add_scores<T>(s[m][0], s[m][1], q[m][i], b);
        }
#pragma unroll
        for (int i = 0; i < slices<T, Depth>; ++i) {
          Slice<T, Depth> b;
          lanes.columns(b, values, c, i);
#pragma unroll
          for (int m = 0; m < G; ++m) add_scores<T>(slope[m][0], slope[m][1], dy[m][i], b);
        }
        if (c + F::step > plain)
          hide_keys(s, mask, first, j, c, hidden ? hidden_keys[stage] : nullptr);
#pragma unroll
        for (int m = 0; m < G; ++m)
#pragma unroll
          for (int e = 0; e < 8; ++e)
            slope[m][e / 4][e % 4] *=
                exp2_fast(fmaf(s[m][e / 4][e % 4], scale, -lse[m][e % 4 / 2]));
        Weights<T> w[G];
#pragma unroll
        for (int m = 0; m < G; ++m) w[m] = Weights<T>(slope[m][0], slope[m][1]);
#pragma unroll
        for (int i = 0; i < slices<T, Depth>; ++i) {
          Slice<T, Depth> b;
          lanes.terms(b, keys, c, i);
#pragma unroll
          for (int m = 0; m < G; ++m) w[m].template add_terms<Depth>(dq[m], b, i);
        }
      }
    }
    sum_warps<Depth>(dq, reinterpret_cast<float*>(tensor_memory), own_warp, loop_warp,
                     plan.loop_warps);
    if (loop_warp != 0) continue;

    const float factor[2] = {p.scale, p.scale};
#pragma unroll
    for (int m = 0; m < G; ++m)
      if (target.part)
        store_sums<Depth>(dq[m], factor, target.part + (split * plan.heads + at) * p.Nq * p.D, p.D,
                          first + 16 * m, p.Nq, int(p.D), false);
      else
        store_sums<Depth>(dq[m], factor, head(target.to, target.s, at, p.H), target.s.row,
                          first + 16 * m, p.Nq, int(p.D), target.accumulate);
  }
}

}  // namespace flr::cuda::attention::tensor
