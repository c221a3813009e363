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
//
// With a barrier of the block after each tile two warps on a quarter of a multiprocessor issued an
// instruction in 2.3 clocks (Nsight Compute, H100), each waiting for its own products; sixteen warps of 32
// keys one in 1.9, but had more to issue and twice as much to add up: B = 32, N = 2000, H = 8, D = 16 took
// 0.87 in place of 0.80 ms. Without that barrier it has not been timed yet.
#include "common/barrier.cuh"
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
  static constexpr int tile = 1024 / Depth, steps = tile / 16;  ///< of queries
  static constexpr int tile_bytes = tile * Depth * 2;
  static constexpr int stage_bytes = 2 * tile_bytes + tile * 8;  ///< q, dy, L and δ
  static constexpr int part = steps * (Depth / 8) * 32;  ///< float4 of a warp's part of dq
  static_assert(part == fused_threads);  // a thread adds up one of each warp
  static constexpr int room_bytes = fused_warps * part * 16;
  /// Of tiles that are read and of parts that are left; see fused_kernel.
  static constexpr int places = 3;
  static constexpr int shared_bytes = places * (stage_bytes + room_bytes) + 8;  ///< and a barrier
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

/// What scores and slopes take of sixteen queries.
template <int Depth>
struct Columns {
  Slice<bf16, Depth> q[slices<bf16, Depth>], dy[slices<bf16, Depth>];
  float lse[2][2];    ///< of queries 8x + 2t and the next
  float start[2][4];  ///< −δ as accumulators hold it

  /// Queries first … first + 15 of a stage.
  __device__ void load(const Tile<bf16, Depth>& lanes, unsigned stage, int first) {
    using F = FusedTiling<Depth>;
    const int t = int(threadIdx.x) % 4;
#pragma unroll
    for (int x = 0; x < slices<bf16, Depth>; ++x) {
      lanes.columns(q[x], stage, first, x);
      lanes.columns(dy[x], stage + F::tile_bytes, first, x);
    }
#pragma unroll
    for (int x = 0; x < 2; ++x) {
      const float4 of = load4(stage + 2 * F::tile_bytes + unsigned(first + 8 * x + 2 * t) * 8);
      lse[x][0] = of.x, lse[x][1] = of.z;
      start[x][0] = start[x][2] = -of.y, start[x][1] = start[x][3] = -of.w;
    }
  }
};

/// left, right = start + sixteen own rows times sixteen columns.
template <int Depth>
__device__ void products(float (&d)[2][4], const Operand<bf16, Depth>& a,
                         const Slice<bf16, Depth> (&b)[slices<bf16, Depth>], const float (&start)[2][4]) {
  if constexpr (Depth == 8) {
    mma_k8(d[0], a[0], b[0][0], start[0]);
    mma_k8(d[1], a[0], b[0][1], start[1]);
  } else {
    mma_k16(d[0], a[0], b[0][0], b[0][1], start[0]);
    mma_k16(d[1], a[0], b[0][2], b[0][3], start[1]);
  }
#pragma unroll
  for (int x = 1; x < slices<bf16, Depth>; ++x) add_scores<bf16>(d[0], d[1], a[x], b[x]);
}

/// A warp's keys and the sums over queries that belong to them.
template <int Depth>
struct Keys {
  static constexpr int G = FusedTiling<Depth>::groups, blocks_of_8 = Depth / 8;
  Operand<bf16, Depth> k[G], v[G];
  u32 across[G][blocks_of_8][2];  ///< keys as rows of a right operand
  Sums<Depth> dk[G] = {}, dv[G] = {};
  u32 hidden = 0;  ///< bit 2 m + r: row g + 8 r of group m; nobody sees it
};

/// All tiles of queries, with the other warps of the block. stage(i) is tile i in shared memory, room(i)
/// this lane's part of dq there, a float4 for each step and eight channels; ready(i) is called in the
/// middle of tile i and done(i) at its end.
///
/// Groups of keys follow each other through three kinds of work, which different units do: products
/// for scores and slopes, exponentials, products for sums. While a group is in its exponentials the
/// scores of the second one after it, perhaps of the next step or tile, and the sums of the one before
/// are on their way.
template <int Depth, bool Restricted, class Stage, class Room, class Ready, class Done>
__device__ void walk_tiles(Keys<Depth>& own, const Tile<bf16, Depth>& lanes, int tiles, float scale, Stage stage,
                           Room room, Ready ready, Done done) {
  using F = FusedTiling<Depth>;
  constexpr int G = F::groups, blocks_of_8 = Depth / 8;
  constexpr float zeros[2][4] = {};
  float s[2][2][4], slope[2][2][4];  // of two groups
  Columns<Depth> now;
  now.load(lanes, stage(0), 0);
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    products<Depth>(s[m], own.k[m], now.q, zeros);
    products<Depth>(slope[m], own.v[m], now.dy, now.start);
  }
  for (int i = 0; i < tiles; ++i) {
    const unsigned here = stage(i), parts = room(i);
#pragma unroll 2
    for (int step = 0; step < F::steps; ++step) {
      if (step == F::steps / 2) ready(i);
      Slice<bf16, Depth> q_terms[slices<bf16, Depth>], dy_terms[slices<bf16, Depth>];
#pragma unroll
      for (int x = 0; x < slices<bf16, Depth>; ++x) {
        lanes.terms(q_terms[x], here, 16 * step, x);
        lanes.terms(dy_terms[x], here + F::tile_bytes, 16 * step, x);
      }
      Columns<Depth> next;  // after the last tile its scores are not used
      if (step + 1 < F::steps) next.load(lanes, here, 16 * (step + 1));
      else next.load(lanes, stage(i + 1), 0);
      float dq[blocks_of_8][4] = {};
      u32 turned[4];
      const auto add_dq = [&](int m) {
#pragma unroll
        for (int j = 0; j < blocks_of_8; ++j) mma_k16(dq[j], turned, own.across[m][j][0], own.across[m][j][1]);
      };
#pragma unroll
      for (int m = 0; m < G; ++m) {
        const int at = m % 2;
        if constexpr (Restricted) {
#pragma unroll
          for (int r = 0; r < 2; ++r)
            if (own.hidden >> (2 * m + r) & 1) {
#pragma unroll
              for (int e = 0; e < 4; ++e) s[at][e / 2][2 * r + e % 2] = -INFINITY;
            }
        }
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          float& x = s[at][e / 4][e % 4];
          x = exp2_fast(fmaf(x, scale, -now.lse[e / 4][e % 2]));
          slope[at][e / 4][e % 4] *= x;
        }
        const Weights<bf16> weights(s[at][0], s[at][1]), changes(slope[at][0], slope[at][1]);
        const Columns<Depth>& of = m + 2 < G ? now : next;
        products<Depth>(s[at], own.k[(m + 2) % G], of.q, zeros);
        products<Depth>(slope[at], own.v[(m + 2) % G], of.dy, of.start);
        if (m > 0) add_dq(m - 1);
#pragma unroll
        for (int x = 0; x < 4; ++x) turned[x] = transpose_8x8(changes.a[x % 2 * 2 + x / 2]);
#pragma unroll
        for (int x = 0; x < slices<bf16, Depth>; ++x) {
          weights.template add_terms<Depth>(own.dv[m], dy_terms[x], x);
          changes.template add_terms<Depth>(own.dk[m], q_terms[x], x);
        }
      }
      add_dq(G - 1);
#pragma unroll
      for (int j = 0; j < blocks_of_8; ++j)
        save4(parts + unsigned((step * blocks_of_8 + j) * 32) * 16, make_float4(dq[j][0], dq[j][1], dq[j][2], dq[j][3]));
      now = next;
    }
    done(i);
  }
}

/// Warps pass from tile to tile without waiting for each other: in the middle of tile i a warp waits for
/// all to have done tile i − 1, half a tile ago, adds up its share of their parts of that one, and begins
/// to copy tile i + 2 to where it was. At the end of tile i tile i + 1 must be there for all: its copies
/// began in the middle of tile i − 1, and each warp had waited for its own before it said that tile to be
/// done. The third room for parts is for warps that begin tile i + 1 while others still add up tile i − 1.
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
  const unsigned memory = shared_address(tensor_memory), rooms = memory + F::places * F::stage_bytes;
  const unsigned barrier = rooms + F::places * F::room_bytes;
  const Tile<bf16, Depth> lanes;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4;
  const float scale = p.scale * log2_e<float>;
  const index_t heads = p.B * p.H, at = blockIdx.x % heads, block = blockIdx.x / heads;
  const index_t first = block * F::keys + warp * 16 * G;
  float* const q_part = q_target.part ? q_target.part + (block * heads + at) * p.Nq * p.D : nullptr;
  bf16* const q_place = head(q_target.to, q_target.s, at, p.H);
  const std::uint8_t* keep = p.keep ? p.keep + at / p.H * p.keep_batch : nullptr;

  const Queries all{head(p.q, p.qs, at, p.H), head(call.dout, call.dos, at, p.H), statistics + at * p.Nq};
  const int tiles = int(ceil_div(p.Nq, F::tile));
  const auto stage = [&](int i) { return memory + unsigned(i % F::places * F::stage_bytes); };
  const auto room = [&](int i) { return rooms + unsigned(i % F::places * F::room_bytes); };
  const auto copy_tile = [&](int i) {
    const index_t begin = index_t{i} * F::tile, left = p.Nq - begin;
    if (left > 0) copy_queries<Depth>(stage(i), call, all, begin, int(left < F::tile ? left : F::tile));
  };
  copy_tile(0);
  copy_tile(1);
  Keys<Depth> own;
#pragma unroll
  for (int m = 0; m < G; ++m) {
    load_operand<Depth>(own.k[m], head(p.k, p.ks, at, p.H), p.ks.row, first + 16 * m, p.Nk, int(p.D));
    load_operand<Depth>(own.v[m], head(p.v, p.vs, at, p.H), p.vs.row, first + 16 * m, p.Nk, int(p.Dv));
#pragma unroll
    for (int j = 0; j < blocks_of_8; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) own.across[m][j][r] = transpose_8x8(own.k[m][j / 2][j % 2 * 2 + r]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const index_t j = first + 16 * m + g + 8 * r;
      if (j >= p.Nk || (keep && !keep[j])) own.hidden |= 1u << (2 * m + r);
    }
  }
  const bool restricted = __any_sync(0xffffffffu, own.hidden != 0);

  const auto add_parts = [&](int i) {
    const int x = int(threadIdx.x);
    float sum[4] = {};
#pragma unroll
    for (int w = 0; w < fused_warps; ++w) {
      const float4 part = load4(room(i) + unsigned((w * F::part + x) * 16));
      sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
    }
    const int channel = x / 32 % blocks_of_8 * 8 + x % 4 * 2;
    if (channel >= p.D) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const index_t row = index_t{i} * F::tile + x / 32 / blocks_of_8 * 16 + x % 32 / 4 + 8 * r;
      if (row >= p.Nq) continue;
      const float low = sum[2 * r] * p.scale, high = sum[2 * r + 1] * p.scale;
      if (q_part) put_pair(q_part + row * p.D + channel, low, high, false);
      else put_pair(q_place + row * q_target.s.row + channel, low, high, q_target.accumulate);
    }
  };
  const auto own_room = [&](int i) { return room(i) + unsigned(warp * F::part + lane) * 16; };
  const auto ready = [&](int i) {
    if (i > 0) barrier_wait(barrier, unsigned(i - 1) % 2);
    copy_tile(i + 2);
    if (i > 0) add_parts(i - 1);
    __syncwarp();
  };
  const auto done = [&](int) {
    wait_for_copies();
    __syncwarp();
    if (lane == 0) barrier_arrive(barrier);
  };

  if (threadIdx.x == 0) barrier_init(barrier, fused_warps);
  wait_for_copies();
  __syncthreads();
  if (restricted) walk_tiles<Depth, true>(own, lanes, tiles, scale, stage, own_room, ready, done);
  else walk_tiles<Depth, false>(own, lanes, tiles, scale, stage, own_room, ready, done);
  barrier_wait(barrier, unsigned(tiles - 1) % 2);
  add_parts(tiles - 1);
#pragma unroll
  for (int m = 0; m < G; ++m) {
    store_gradient<Depth>(own.dk[m], p.scale, p, k_target, at, at, first + 16 * m, int(p.D));
    store_gradient<Depth>(own.dv[m], 1.f, p, v_target, at, at, first + 16 * m, int(p.Dv));
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
  int bytes = 0;
  with_fused_depth(f, [&]<int Depth>() {
    blocks = blocks_of<Depth>(f), bytes = FusedTiling<Depth>::shared_bytes;
  });
  if (bytes > max_shared_bytes()) return false;
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
    const unsigned grid = unsigned(f.B * f.H * blocks);
    fused_kernel<Depth><<<grid, fused_threads, bytes, stream()>>>(p, statistics, to_q, to_k, to_v);
    check_launch("sdpa_backward, tensor cores");
    dq.collect(), dk.collect(), dv.collect();
  });
}

}  // namespace flr::cuda::attention::tensor
