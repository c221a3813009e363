// Attention backward on tensor cores in one pass over the scores, for heads short enough that few
// blocks share one:
//
//   P = 2^(S − L), dP = dy vᵀ, dS = P ∘ (dP − δ), dv = Pᵀ dy, dk = scale · dSᵀ q, dq = scale · dS k.
//
// Bound by one exponential a score, of which two passes (tensor_backward_key.cuh and …_query.cuh)
// take two, and five products, of which they take seven. As in the gradients of keys a warp owns keys,
// here 64 of up to 16 channels, so that what is read of the queries serves many; P and dS are, as they
// stand, A of the products with dy and q. Turned round by movmatrix dS is A of a product with the
// warp's keys too: its part of dq. The parts of a block's warps meet in shared memory and are added in
// their order, those of the blocks of a head by collect().
#include "sdpa/layout.cuh"
#include "sdpa/tensor.hpp"
#include "sdpa/tensor_gradient.cuh"

namespace flr::cuda::attention::tensor {
namespace {

constexpr int fused_warps = 8, fused_threads = 32 * fused_warps;
/// More blocks of a head would leave more parts of dq than is worth one exponential a score; and what
/// all heads leave is bounded.
constexpr index_t most_blocks = 8, most_part_bytes = index_t{256} << 20;

template <int Depth>
struct FusedTiling {
  static constexpr int groups = Depth <= 16 ? 4 : 2;  ///< of sixteen keys, a warp
  static constexpr int keys = fused_warps * groups * 16;
  static constexpr int tile = 64, steps = tile / 16;  ///< of queries
  static constexpr int tile_bytes = tile * Depth * 2;
  static constexpr int stage_bytes = 2 * tile_bytes + tile * 8;  ///< q, dy, L and δ
  static constexpr int part = steps * (Depth / 8) * 32;  ///< float4 of a warp's part of dq
  static constexpr int shared_bytes = 2 * stage_bytes + fused_warps * part * 16;
};

/// A head's queries.
struct Queries {
  const bf16 *q, *dy;
  const QueryStatistics<bf16>* statistics;
};

/// Begins to copy n ≥ 1 queries' q, dy, L and δ; zeros up to a whole tile.
template <int Depth>
__device__ void copy_queries(unsigned to, const SdpaBackwardParams<bf16>& call, const Queries& from_head,
                             index_t first, int n) {
  using F = FusedTiling<Depth>;
  constexpr int pieces = Tile<bf16, Depth>::pieces;
  const SdpaParams<bf16>& p = call.f;
  const bf16* q = from_head.q + first * p.qs.row;
  const bf16* dy = from_head.dy + first * call.dos.row;
#pragma unroll
  for (int x0 = 0; x0 < 2 * F::tile * pieces; x0 += fused_threads) {
    const int x = x0 + int(threadIdx.x);
    if (x >= 2 * F::tile * pieces) break;
    const bool second = x >= F::tile * pieces;
    const int r = x / pieces % F::tile, piece = x % pieces;
    const bool there = r < n && piece * 8 < int(second ? p.Dv : p.D);
    const bf16* from = second ? dy + (there ? r * call.dos.row + piece * 8 : 0)
                              : q + (there ? r * p.qs.row + piece * 8 : 0);
    copy_async<16>(to + (second ? F::tile_bytes : 0) + Tile<bf16, Depth>::offset(r, piece), from, there);
  }
  const int x = int(threadIdx.x);
  if (x < F::tile)
    copy_async<8>(to + 2 * F::tile_bytes + unsigned(x) * 8, from_head.statistics + first + (x < n ? x : 0), x < n);
}

template <int Depth>
__global__ void __launch_bounds__(fused_threads, 1)
    fused_kernel(const __grid_constant__ SdpaBackwardParams<bf16> call, const QueryStatistics<bf16>* statistics,
                 const __grid_constant__ GradientTarget<bf16> q_target,
                 const __grid_constant__ GradientTarget<bf16> k_target,
                 const __grid_constant__ GradientTarget<bf16> v_target) {
  using F = FusedTiling<Depth>;
  constexpr int G = F::groups, blocks_of_8 = Depth / 8;
  extern __shared__ uint4 tensor_memory[];
  const SdpaParams<bf16>& p = call.f;
  const unsigned memory = shared_address(tensor_memory), room = memory + 2 * F::stage_bytes;
  const Tile<bf16, Depth> lanes;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const float scale = p.scale * log2_e<float>;
  const index_t heads = p.B * p.H, at = blockIdx.x % heads, block = blockIdx.x / heads;
  const index_t first = block * F::keys + warp * 16 * G;
  float* const q_part = q_target.part ? q_target.part + (block * heads + at) * p.Nq * p.D : nullptr;
  bf16* const q_place = head(q_target.to, q_target.s, at, p.H);
  const std::uint8_t* keep = p.keep ? p.keep + at / p.H * p.keep_batch : nullptr;

  const Queries all{head(p.q, p.qs, at, p.H), head(call.dout, call.dos, at, p.H), statistics + at * p.Nq};

  copy_queries<Depth>(memory, call, all, 0, int(p.Nq < F::tile ? p.Nq : F::tile));
  Operand<bf16, Depth> k[G], v[G];
  u32 across[G][blocks_of_8][2];  // keys as rows of a right operand
  Sums<Depth> dk[G] = {}, dv[G] = {};
  u32 hidden = 0;  // bit 2 m + r: row g + 8 r of group m; nobody sees it
#pragma unroll
  for (int m = 0; m < G; ++m) {
    load_operand<Depth>(k[m], head(p.k, p.ks, at, p.H), p.ks.row, first + 16 * m, p.Nk, int(p.D));
    load_operand<Depth>(v[m], head(p.v, p.vs, at, p.H), p.vs.row, first + 16 * m, p.Nk, int(p.Dv));
#pragma unroll
    for (int j = 0; j < blocks_of_8; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) across[m][j][r] = transpose_8x8(k[m][j / 2][j % 2 * 2 + r]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const index_t j = first + 16 * m + g + 8 * r;
      if (j >= p.Nk || (keep && !keep[j])) hidden |= 1u << (2 * m + r);
    }
  }
  const bool restricted = __any_sync(0xffffffffu, hidden != 0);

  unsigned stage = 0;
  for (index_t i = 0; i < p.Nq; i += F::tile, stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // and what the last tile left of dq has been read
    if (i + F::tile < p.Nq) {
      const index_t left = p.Nq - i - F::tile;
      copy_queries<Depth>(memory + (stage ^ 1) * F::stage_bytes, call, all, i + F::tile,
                          int(left < F::tile ? left : F::tile));
    }
    const unsigned queries = memory + stage * F::stage_bytes, slopes = queries + F::tile_bytes;
#pragma unroll 1
    for (int step = 0; step < F::steps; ++step) {
      const int c = 16 * step;
      float lse[2][2], delta[2][2];
#pragma unroll
      for (int x = 0; x < 2; ++x) {  // queries c + 8x + 2t and the next
        const float4 of = load4(slopes + F::tile_bytes + unsigned(c + 8 * x + 2 * t) * 8);
        lse[x][0] = of.x, delta[x][0] = -of.y, lse[x][1] = of.z, delta[x][1] = -of.w;
      }
      Slice<bf16, Depth> q_columns[slices<bf16, Depth>], dy_columns[slices<bf16, Depth>];
      Slice<bf16, Depth> q_terms[slices<bf16, Depth>], dy_terms[slices<bf16, Depth>];
#pragma unroll
      for (int x = 0; x < slices<bf16, Depth>; ++x) {
        lanes.columns(q_columns[x], queries, c, x);
        lanes.columns(dy_columns[x], slopes, c, x);
        lanes.terms(q_terms[x], queries, c, x);
        lanes.terms(dy_terms[x], slopes, c, x);
      }
      // One kind of instruction after the other for all keys, so that none waits for the one before it.
      float s[G][2][4] = {}, slope[G][2][4], dq[blocks_of_8][4] = {};
#pragma unroll
      for (int m = 0; m < G; ++m)
#pragma unroll
        for (int e = 0; e < 8; ++e) slope[m][e / 4][e % 4] = delta[e / 4][e % 2];
#pragma unroll
      for (int x = 0; x < slices<bf16, Depth>; ++x)
#pragma unroll
        for (int m = 0; m < G; ++m) {
          add_scores<bf16>(s[m][0], s[m][1], k[m][x], q_columns[x]);
          add_scores<bf16>(slope[m][0], slope[m][1], v[m][x], dy_columns[x]);
        }
      if (restricted) {
#pragma unroll
        for (int r = 0; r < 2 * G; ++r)
          if (hidden >> r & 1) {
#pragma unroll
            for (int e = 0; e < 4; ++e) s[r / 2][e / 2][r % 2 * 2 + e % 2] = -INFINITY;
          }
      }
      Weights<bf16> weights[G], changes[G];
#pragma unroll
      for (int m = 0; m < G; ++m) {
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          float& x = s[m][e / 4][e % 4];
          x = exp2_fast(fmaf(x, scale, -lse[e / 4][e % 2]));
          slope[m][e / 4][e % 4] *= x;
        }
        weights[m] = Weights<bf16>(s[m][0], s[m][1]);
        changes[m] = Weights<bf16>(slope[m][0], slope[m][1]);
      }
#pragma unroll
      for (int x = 0; x < slices<bf16, Depth>; ++x)
#pragma unroll
        for (int m = 0; m < G; ++m) {
          weights[m].template add_terms<Depth>(dv[m], dy_terms[x], x);
          changes[m].template add_terms<Depth>(dk[m], q_terms[x], x);
        }
#pragma unroll
      for (int m = 0; m < G; ++m) {
        const u32 turned[4] = {transpose_8x8(changes[m].a[0]), transpose_8x8(changes[m].a[2]),
                               transpose_8x8(changes[m].a[1]), transpose_8x8(changes[m].a[3])};
#pragma unroll
        for (int j = 0; j < blocks_of_8; ++j) mma_k16(dq[j], turned, across[m][j][0], across[m][j][1]);
      }
#pragma unroll
      for (int j = 0; j < blocks_of_8; ++j)
        save4(room + unsigned((warp * F::part + (step * blocks_of_8 + j) * 32 + lane) * 16),
              make_float4(dq[j][0], dq[j][1], dq[j][2], dq[j][3]));
    }
    __syncthreads();
    for (int x = int(threadIdx.x); x < F::part; x += fused_threads) {
      float sum[4] = {};
#pragma unroll
      for (int w = 0; w < fused_warps; ++w) {
        const float4 part = load4(room + unsigned((w * F::part + x) * 16));
        sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
      }
      const int channel = x / 32 % blocks_of_8 * 8 + x % 4 * 2;
      if (channel >= p.D) continue;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const index_t row = i + x / 32 / blocks_of_8 * 16 + x % 32 / 4 + 8 * r;
        if (row >= p.Nq) continue;
        const float low = sum[2 * r] * p.scale, high = sum[2 * r + 1] * p.scale;
        if (q_part) put_pair(q_part + row * p.D + channel, low, high, false);
        else put_pair(q_place + row * q_target.s.row + channel, low, high, q_target.accumulate);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < G; ++m) {
    store_gradient<Depth>(dk[m], p.scale, p, k_target, at, at, first + 16 * m, int(p.D));
    store_gradient<Depth>(dv[m], 1.f, p, v_target, at, at, first + 16 * m, int(p.Dv));
  }
}

template <int Depth>
index_t blocks_of(const SdpaParams<bf16>& p) {
  return ceil_div(p.Nk, FusedTiling<Depth>::keys);
}

/// Calls f.template operator()<Depth>().
template <class F>
void with_fused_depth(const SdpaParams<bf16>& p, F f) {
  const index_t depth = p.D > p.Dv ? p.D : p.Dv;
  if (depth <= 8) f.template operator()<8>();
  else if (depth <= 16) f.template operator()<16>();
  else f.template operator()<32>();
}

}  // namespace

bool fused_backward_takes(const SdpaBackwardParams<bf16>& p) {
  const SdpaParams<bf16>& f = p.f;
  if (f.causal || f.D > 32 || f.Dv > 32) return false;
  if (p.dq_mode == GradMode::ignore || p.dk_mode == GradMode::ignore || p.dv_mode == GradMode::ignore)
    return false;
  index_t blocks = 0;
  with_fused_depth(f, [&]<int Depth>() { blocks = blocks_of<Depth>(f); });
  // Blocks are not cut further: there must be enough of them for the chip, and work for all warps.
  if (blocks > 1 && blocks * f.B * f.H * f.Nq * f.D * index_t{4} > most_part_bytes) return false;
  return blocks <= most_blocks && f.B * f.H * blocks >= 2 * multiprocessors() && f.Nk >= 256;
}

void fused_backward(const SdpaBackwardParams<bf16>& p, const QueryStatistics<bf16>* statistics) {
  const SdpaParams<bf16>& f = p.f;
  with_fused_depth(f, [&]<int Depth>() {
    const index_t blocks = blocks_of<Depth>(f);
    const Gradient<bf16> dq(f, p.dq, p.dqs, p.dq_mode, f.Nq, f.D, blocks);
    const Gradient<bf16> dk(f, p.dk, p.dks, p.dk_mode, f.Nk, f.D, 1);
    const Gradient<bf16> dv(f, p.dv, p.dvs, p.dv_mode, f.Nk, f.Dv, 1);
    const GradientTarget<bf16> to_q = dq.target(true), to_k = dk.target(true), to_v = dv.target(true);
    constexpr int bytes = FusedTiling<Depth>::shared_bytes;
    allow_shared(fused_kernel<Depth>, bytes, "sdpa_backward, tensor cores");
    fused_kernel<Depth><<<unsigned(f.B * f.H * blocks), fused_threads, bytes, stream()>>>(p, statistics, to_q, to_k, to_v);
    check_launch("sdpa_backward, tensor cores");
    dq.collect(), dk.collect(), dv.collect();
  });
}

}  // namespace flr::cuda::attention::tensor
