// Attention backward on tensor cores, the gradients of keys and values:
//
//   P = 2^(S − L), dP = dy vᵀ, dS = P ∘ (dP − δ), dv = Pᵀ dy, dk = scale · dSᵀ q.
//
// Bound by one exponential a score up to D = 32, by products beyond. A warp owns keys (k, v and the
// sums of dk and dv in registers), queries with their dy, L and δ stream through shared memory.
// Scores are taken as keys × queries, so that P and dS are, as they stand, A of the products with
// dy and q. Queries beyond the last are zeros with L = δ = 0: they add nothing.
#pragma once

#include "mask.cuh"
#include "tensor_gradient.cuh"

namespace flr::cuda::attention::tensor {

template <class T, int Depth>
struct KeyTiling {
  static constexpr int bytes = row_bytes<T, Depth>;
  static constexpr int groups = bytes <= 64 ? 2 : 1;               ///< of sixteen keys, a warp
  static constexpr int tile = bytes <= 128 ? 128 : 64, step = 16;  ///< of queries
  static constexpr int resident = bytes <= 32    ? 4
                                  : bytes <= 128 ? 3
                                                 : 2;  ///< as registers leave room
  static constexpr int tile_bytes = tile * bytes, statistics_bytes = tile * 8;
  static constexpr int stage_bytes = 2 * tile_bytes + statistics_bytes;  ///< q, dy, L and δ
  static constexpr int shared_bytes = 2 * stage_bytes;
  static_assert(tile <= threads && tile / warps % step == 0);
  static_assert(warps / 2 * groups * Depth / 2 * 32 * 4 <= shared_bytes);  // what sum_warps needs
};

template <class T, int Depth>
__global__ void __launch_bounds__(threads, KeyTiling<T, Depth>::resident)
    key_kernel(const __grid_constant__ SdpaBackwardParams<T> call,
               const __grid_constant__ Plan plan, const QueryStatistics<T>* statistics,
               const __grid_constant__ GradientTarget<T> k_target,
               const __grid_constant__ GradientTarget<T> v_target) {
  using F = KeyTiling<T, Depth>;
  constexpr int G = F::groups;
  extern __shared__ uint4 tensor_memory[];
  const SdpaParams<T>& p = call.f;
  const unsigned memory = shared_address(tensor_memory);
  const Tile<T, Depth> lanes;
  const int warp = int(threadIdx.x) / 32, own_warp = warp % plan.own_warps,
            loop_warp = warp / plan.own_warps, share = F::tile / plan.loop_warps;
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
  const float scale = p.scale * log2_e<float>;

  for (index_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    const index_t at = unit % plan.heads, block = unit / plan.heads % plan.blocks;
    const index_t split = unit / plan.heads / plan.blocks;
    const Mask<T> mask(p, at);
    const index_t block_first = block * plan.own_warps * 16 * G;
    const index_t first = block_first + own_warp * 16 * G;
    const index_t last = min(p.Nk, first + 16 * G) - 1;  // before `first` if the warp is idle
    const index_t end = min(split * plan.span + plan.span, p.Nq);
    index_t begin = split * plan.span;
    const index_t blind = mask.first_query(block_first) - begin;  // queries that see no key here
    if (blind > 0) begin += blind / F::tile * F::tile;

    const T* q = head(p.q, p.qs, at, p.H) + begin * p.qs.row;
    const T* dy = head(call.dout, call.dos, at, p.H) + begin * call.dos.row;
    const auto copy_next = [&](index_t i, unsigned stage) {
      const int n = int(min(index_t{F::tile}, end - i));
      const unsigned to = memory + stage * F::stage_bytes;
      Tile<T, Depth>::template copy<F::tile>(to, q, p.qs.row, n, int(p.D));
      Tile<T, Depth>::template copy<F::tile>(to + F::tile_bytes, dy, call.dos.row, n, int(p.Dv));
      q += F::tile * p.qs.row, dy += F::tile * call.dos.row;
      const int x = int(threadIdx.x);
      if (x < F::tile)
        copy_async<8>(to + 2 * F::tile_bytes + unsigned(x) * 8,
                      statistics + at * p.Nq + i + (x < n ? x : 0), x < n);
    };
    __syncthreads();  // what the last unit left there has been read
    if (begin < end) copy_next(begin, 0);
    Operand<T, Depth> k[G], v[G];
    Sums<Depth> dk[G] = {}, dv[G] = {};
    u32 hidden = 0;  // bit 2 m + r: row g + 8 r of group m
    bool shows = false;
#pragma unroll
    for (int m = 0; m < G; ++m) {
      load_operand<Depth>(k[m], head(p.k, p.ks, at, p.H), p.ks.row, first + 16 * m, p.Nk, int(p.D));
      load_operand<Depth>(v[m], head(p.v, p.vs, at, p.H), p.vs.row, first + 16 * m, p.Nk,
                          int(p.Dv));
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const index_t j = first + 16 * m + g + 8 * r;
        if (j >= p.Nk) continue;
        if (mask.keep && !mask.keep[j])
          hidden |= 1u << (2 * m + r);
        else
          shows = true;
      }
    }
    const bool restricted = __any_sync(0xffffffffu, hidden != 0);
    const bool busy = __any_sync(0xffffffffu, shows);
    // Queries from this one on see all keys of the warp.
    const index_t all_from = restricted ? end : mask.first_query(last);

    unsigned stage = 0;
    for (index_t i = begin; i < end; i += F::tile, stage ^= 1) {
      const int n = int(min(index_t{F::tile}, end - i));
      wait_for_copies();
      __syncthreads();
      if (i + F::tile < end) copy_next(i + F::tile, stage ^ 1);  // nobody reads it any more
      if (!busy) continue;
      const unsigned queries = memory + stage * F::stage_bytes, slopes = queries + F::tile_bytes;
      const float4* const of_queries =
          reinterpret_cast<const float4*>(reinterpret_cast<const char*>(tensor_memory) +
                                          stage * F::stage_bytes + 2 * F::tile_bytes);
      const int from = loop_warp * share, until = min(n, from + share);
      const int plain = in_tile(all_from - i, F::tile);
      for (int c = from; c < until; c += F::step) {
        float s[G][2][4] = {}, slope[G][2][4], lse[2][2];
#pragma unroll
        for (int x = 0; x < 2; ++x) {
          const float4 of = of_queries[c / 2 + 4 * x + t];  // queries c + 8x + 2t and the next
          lse[x][0] = of.x, lse[x][1] = of.z;
#pragma unroll
          for (int m = 0; m < G; ++m) {
            slope[m][x][0] = slope[m][x][2] = -of.y;
            slope[m][x][1] = slope[m][x][3] = -of.w;
          }
        }
#pragma unroll
        for (int x = 0; x < slices<T, Depth>; ++x) {
          Slice<T, Depth> b;
          lanes.columns(b, queries, c, x);
#pragma unroll
          for (int m = 0; m < G; ++m) add_scores<T>(s[m][0], s[m][1], k[m][x], b);
        }
#pragma unroll
        for (int x = 0; x < slices<T, Depth>; ++x) {
          Slice<T, Depth> b;
          lanes.columns(b, slopes, c, x);
#pragma unroll
          for (int m = 0; m < G; ++m) add_scores<T>(slope[m][0], slope[m][1], v[m][x], b);
        }
        if (c < plain) {
#pragma unroll
          for (int m = 0; m < G; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              const index_t j = first + 16 * m + g + 8 * r;
              const int sees =
                  hidden >> (2 * m + r) & 1 ? F::tile : in_tile(mask.first_query(j) - i, F::tile);
#pragma unroll
              for (int e = 0; e < 4; ++e)
                if (c + e / 2 * 8 + 2 * t + e % 2 < sees) s[m][e / 2][2 * r + e % 2] = -INFINITY;
            }
        }
        Weights<T> w[G];
#pragma unroll
        for (int m = 0; m < G; ++m) {
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            float& x = s[m][e / 4][e % 4];
            x = exp2_fast(fmaf(x, scale, -lse[e / 4][e % 2]));
            slope[m][e / 4][e % 4] *= x;
          }
          w[m] = Weights<T>(s[m][0], s[m][1]);
        }
#pragma unroll
        for (int x = 0; x < slices<T, Depth>; ++x) {
          Slice<T, Depth> b;
          lanes.terms(b, slopes, c, x);
#pragma unroll
          for (int m = 0; m < G; ++m) w[m].template add_terms<Depth>(dv[m], b, x);
        }
#pragma unroll
        for (int m = 0; m < G; ++m) w[m] = Weights<T>(slope[m][0], slope[m][1]);
#pragma unroll
        for (int x = 0; x < slices<T, Depth>; ++x) {
          Slice<T, Depth> b;
          lanes.terms(b, queries, c, x);
#pragma unroll
          for (int m = 0; m < G; ++m) w[m].template add_terms<Depth>(dk[m], b, x);
        }
      }
    }
    float* const room = reinterpret_cast<float*>(tensor_memory);
    sum_warps<Depth>(dk, room, own_warp, loop_warp, plan.loop_warps);
    sum_warps<Depth>(dv, room, own_warp, loop_warp, plan.loop_warps);
    if (loop_warp != 0) continue;
    const index_t part = split * plan.heads + at;
#pragma unroll
    for (int m = 0; m < G; ++m) {
      store_gradient<Depth>(dk[m], p.scale, p, k_target, part, at, first + 16 * m, int(p.D));
      store_gradient<Depth>(dv[m], 1.f, p, v_target, part, at, first + 16 * m, int(p.Dv));
    }
  }
}

}  // namespace flr::cuda::attention::tensor
