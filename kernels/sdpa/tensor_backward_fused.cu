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
// Two warps on a quarter of a multiprocessor issue an instruction in about two clocks (Nsight Compute, H100),
// each waiting for its own products. B = 32, N = 2000, H = 8, D = 16 takes 0.70 ms with all that belongs to it;
// twelve warps of 48 or 32 keys and sixteen of 32, which have more to issue and to add up, 0.77 to 0.81.
#include "common/warp_arrives.cuh"
#include "sdpa/tensor.hpp"
#include "sdpa/tensor_fused_tiles.cuh"

namespace flr::cuda::attention::tensor {
namespace {

/// More blocks of a head would leave more parts of dq than is worth one exponential a score; and what
/// all heads leave is bounded.
constexpr index_t most_blocks = 8, most_part_bytes = index_t{256} << 20;

/// What scores and slopes take of sixteen queries.
template <class F>
struct Columns {
  static constexpr int depth = F::depth;
  Slice<bf16, depth> q[slices<bf16, depth>], dy[slices<bf16, depth>];
  float lse[2][2];    ///< of queries 8x + 2t and the next
  float delta[2][4];  ///< as accumulators hold it

  __device__ void load(const Tile<bf16, depth>& lanes, unsigned step) {
    const int t = int(threadIdx.x) % 4;
#pragma unroll
    for (int x = 0; x < slices<bf16, depth>; ++x) {
      lanes.columns(q[x], step, 0, x);
      lanes.columns(dy[x], step + F::dy, 0, x);
    }
#pragma unroll
    for (int x = 0; x < 2; ++x) {
      const unsigned pair = step + unsigned(F::pairs + (4 * x + t) * F::pair_bytes);
      const float4 start = load4(pair);
      delta[x][0] = start.x, delta[x][1] = start.y, delta[x][2] = start.z, delta[x][3] = start.w;
      const uint2 l = load2(pair + 16);
      lse[x][0] = __uint_as_float(l.x), lse[x][1] = __uint_as_float(l.y);
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

/// A warp's keys and the sums over queries that belong to them. Values are negated: slopes, −dP + δ, then
/// start from δ as it lies; who stores what comes of them negates it again.
template <class F>
struct Keys {
  static constexpr int G = F::groups, blocks_of_8 = F::blocks_of_8;
  Operand<bf16, F::depth> k[G], minus_v[G];
  u32 across[G][blocks_of_8][2];  ///< keys as rows of a right operand
  Sums<F::depth> minus_dk[G] = {}, dv[G] = {};
  u32 hidden = 0;  ///< bit 2 m + r: row g + 8 r of group m; nobody sees it
};

/// All tiles of queries, with the other warps of the block; the ring of steps in shared memory begins at
/// `ring`. ready(i) is called in the middle of tile i and done(i) at its end.
///
/// Groups of keys follow each other through three kinds of work, which different units do: products
/// for scores and slopes, exponentials, products for sums. While a group is in its exponentials the
/// scores of the next ones, perhaps of the next step or tile, and the sums of the one before are on their way.
template <class F, bool Restricted, class Ready, class Done>
__device__ void walk_tiles(Keys<F>& own, const Tile<bf16, F::depth>& lanes, int tiles, float scale, unsigned ring,
                           Ready ready, Done done) {
  constexpr int Depth = F::depth, G = F::groups, blocks_of_8 = F::blocks_of_8, ahead = F::ahead;
  static_assert(ahead <= G && 2 * G % ahead == 0);
  constexpr float zeros[2][4] = {};
  const unsigned own_part = F::parts + (threadIdx.x / 32 * F::part + threadIdx.x % 32) * 16;
  float s[ahead][2][4], slope[ahead][2][4];
  Columns<F> columns[2];  // of a step and the next
  columns[0].load(lanes, ring);
#pragma unroll
  for (int m = 0; m < ahead; ++m) {
    products<Depth>(s[m], own.k[m], columns[0].q, zeros);
    products<Depth>(slope[m], own.minus_v[m], columns[0].dy, columns[0].delta);
  }
  unsigned here = ring;
  for (int i = 0; i < tiles; ++i) {
#pragma unroll 1
    for (int two_steps = 0; two_steps < F::steps; two_steps += 2)
#pragma unroll
      for (int turn = 0; turn < 2; ++turn) {
        if (two_steps + turn == F::steps / 2) ready(i);
        const Columns<F>& now = columns[turn];
        Columns<F>& next = columns[1 - turn];
        Slice<bf16, Depth> q_terms[slices<bf16, Depth>], dy_terms[slices<bf16, Depth>];
#pragma unroll
        for (int x = 0; x < slices<bf16, Depth>; ++x) {
          lanes.terms(q_terms[x], here, 0, x);
          lanes.terms(dy_terms[x], here + F::dy, 0, x);
        }
        const unsigned parts = here + own_part;
        here += F::step_bytes;
        if (turn == 1 && here == ring + F::ring_bytes) here = ring;
        float minus_dq[blocks_of_8][4];
        u32 turned[4];
        const auto add_dq = [&](int m) {
#pragma unroll
          for (int j = 0; j < blocks_of_8; ++j)
            if (m == 0) mma_k16(minus_dq[j], turned, own.across[m][j][0], own.across[m][j][1], zeros[0]);
            else mma_k16(minus_dq[j], turned, own.across[m][j][0], own.across[m][j][1]);
        };
#pragma unroll
        for (int m = 0; m < G; ++m) {
          // Just before they are needed: registers are scarce. After the last tile their scores are not used.
          if (m == (G > ahead ? G - ahead - 1 : 0)) next.load(lanes, here);
          const int at = (turn * G + m) % ahead;
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
          const Columns<F>& of = m + ahead < G ? now : next;
          products<Depth>(s[at], own.k[(m + ahead) % G], of.q, zeros);
          products<Depth>(slope[at], own.minus_v[(m + ahead) % G], of.dy, of.delta);
          if (m > 0) add_dq(m - 1);
#pragma unroll
          for (int x = 0; x < 4; ++x) turned[x] = transpose_8x8(changes.a[x % 2 * 2 + x / 2]);
#pragma unroll
          for (int x = 0; x < slices<bf16, Depth>; ++x) {
            weights.template add_terms<Depth>(own.dv[m], dy_terms[x], x);
            changes.template add_terms<Depth>(own.minus_dk[m], q_terms[x], x);
          }
        }
        add_dq(G - 1);
#pragma unroll
        for (int j = 0; j < blocks_of_8; ++j)
          save4(parts + unsigned(j * 32 * 16),
                make_float4(minus_dq[j][0], minus_dq[j][1], minus_dq[j][2], minus_dq[j][3]));
      }
    done(i);
  }
}

/// Warps pass from tile to tile without waiting for each other: in the middle of tile i a warp waits for
/// all to have done tile i − 1, half a tile ago, adds up its share of their parts of that one, and begins
/// to copy tile i + 2 to where it was. At the end of tile i tile i + 1 must be there for all: its copies
/// began in the middle of tile i − 1, and each warp had waited for its own before it said that tile to be
/// done. So no warp is more than a tile before another: while one still adds up the parts of tile i − 1
/// others write theirs of tile i + 1 but none of tile i + 2, whose place is that of tile i − 1 again.
///
/// Warps without keys, in the last block of a head, copy and add up only.
template <class F>
__global__ void __launch_bounds__(F::threads, 1)
    fused_kernel(const __grid_constant__ SdpaBackwardParams<bf16> call, const QueryStatistics<bf16>* statistics,
                 const __grid_constant__ GradientTarget<bf16> q_target,
                 const __grid_constant__ GradientTarget<bf16> k_target,
                 const __grid_constant__ GradientTarget<bf16> v_target) {
  constexpr int Depth = F::depth, G = F::groups, blocks_of_8 = F::blocks_of_8;
  extern __shared__ uint4 tensor_memory[];
  const SdpaParams<bf16>& p = call.f;
  const unsigned ring = shared_address(tensor_memory), barrier = ring + F::ring_bytes;
  const Tile<bf16, Depth> lanes;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4;
  const float scale = p.scale * log2_e<float>;
  const index_t heads = p.B * p.H, at = blockIdx.x % heads, block = blockIdx.x / heads;
  const index_t first = block * F::keys + warp * 16 * G;
  const std::uint8_t* keep = p.keep ? p.keep + at / p.H * p.keep_batch : nullptr;
  const int queries = int(p.Nq), tiles = int(ceil_div(p.Nq, F::tile));
  Copies<F> copies(call, statistics, at);
  copies.begin(ring, queries);
  copies.begin(ring + F::tile_bytes, queries - F::tile);

  Keys<F> own;
#pragma unroll
  for (int m = 0; m < G; ++m) {
    load_operand<Depth>(own.k[m], head(p.k, p.ks, at, p.H), p.ks.row, first + 16 * m, p.Nk, int(p.D));
    load_operand<Depth>(own.minus_v[m], head(p.v, p.vs, at, p.H), p.vs.row, first + 16 * m, p.Nk, int(p.Dv));
#pragma unroll
    for (auto& slice : own.minus_v[m])
#pragma unroll
      for (u32& x : slice) x ^= 0x80008000u;  // the signs
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
  const bool idle = first >= p.Nk, restricted = __any_sync(0xffffffffu, own.hidden != 0);

  SumOfParts<F> sums(p, q_target, block * heads + at, at);
  unsigned other = ring + 2 * F::tile_bytes;  // where tile i − 1 is and tile i + 2 will be
  int left = queries - 2 * F::tile;           // queries from tile i + 2 on
  const auto add_parts = [&] { sums.add(other, left + 3 * F::tile); };
  const auto ready = [&](int i) {
    barrier_wait(barrier, unsigned(i + 1) % 2);
    copies.begin(other, left);
    if (i > 0) add_parts();
    left -= F::tile, other += F::tile_bytes;
    if (other == barrier) other = ring;
    __syncwarp();
  };
  const auto done = [&](int) {
    wait_for_copies();
    warp_arrives(barrier);
  };

  if (idle)  // its parts are zeros for good
    for (int step = 0; step < F::ring_bytes; step += F::step_bytes)
      for (int x = lane; x < F::part; x += 32)
        save4(ring + unsigned(step + F::parts + (warp * F::part + x) * 16), make_float4(0, 0, 0, 0));
  if (threadIdx.x == 0) barrier_init(barrier, F::warps * arrivals_of_warp);
  wait_for_copies();
  __syncthreads();
  if (idle) {
    for (int i = 0; i < tiles; ++i) ready(i), done(i);
  } else if (restricted) {
    walk_tiles<F, true>(own, lanes, tiles, scale, ring, ready, done);
  } else {
    walk_tiles<F, false>(own, lanes, tiles, scale, ring, ready, done);
  }
  barrier_wait(barrier, unsigned(tiles - 1) % 2);
  add_parts();
#pragma unroll
  for (int m = 0; m < G; ++m) {
    store_gradient<Depth>(own.minus_dk[m], -p.scale, p, k_target, at, at, first + 16 * m, int(p.D));
    store_gradient<Depth>(own.dv[m], 1.f, p, v_target, at, at, first + 16 * m, int(p.Dv));
  }
}

/// Calls use.template operator()<F>() with a call's tiling.
template <class Use>
void with_tiling(const SdpaParams<bf16>& p, Use use) {
  const index_t depth = p.D > p.Dv ? p.D : p.Dv;
  if (depth <= 8) use.template operator()<FusedTiling<8>>();
  else if (depth <= 16) use.template operator()<FusedTiling<16>>();
  else use.template operator()<FusedTiling<32>>();
}

}  // namespace

bool fused_backward_takes(const SdpaBackwardParams<bf16>& p) {
  const SdpaParams<bf16>& f = p.f;
  if (f.causal || f.D > 32 || f.Dv > 32) return false;
  if (p.dq_mode == GradMode::ignore || p.dk_mode == GradMode::ignore || p.dv_mode == GradMode::ignore)
    return false;
  index_t blocks = 0;
  int bytes = 0;
  with_tiling(f, [&]<class F>() { blocks = ceil_div(f.Nk, F::keys), bytes = F::shared_bytes; });
  if (bytes > max_shared_bytes()) return false;
  if (f.Nq >= index_t{1} << 30) return false;  // its rows are counted in 32 bits
  // Blocks are not cut further: there must be enough of them for the chip, and work for all warps.
  if (blocks > 1 && blocks * f.B * f.H * f.Nq * f.D * index_t{4} > most_part_bytes) return false;
  return blocks <= most_blocks && f.B * f.H * blocks >= 2 * multiprocessors() && f.Nk >= 256;
}

void fused_backward(const SdpaBackwardParams<bf16>& p, const QueryStatistics<bf16>* statistics) {
  const SdpaParams<bf16>& f = p.f;
  with_tiling(f, [&]<class F>() {
    const index_t blocks = ceil_div(f.Nk, F::keys);
    const Gradient<bf16> dq(f, p.dq, p.dqs, p.dq_mode, f.Nq, f.D, blocks);
    const Gradient<bf16> dk(f, p.dk, p.dks, p.dk_mode, f.Nk, f.D, 1);
    const Gradient<bf16> dv(f, p.dv, p.dvs, p.dv_mode, f.Nk, f.Dv, 1);
    const GradientTarget<bf16> to_q = dq.target(true), to_k = dk.target(true), to_v = dv.target(true);
    constexpr int bytes = F::shared_bytes;
    allow_shared(fused_kernel<F>, bytes, "sdpa_backward, tensor cores");
    const unsigned grid = unsigned(f.B * f.H * blocks);
    fused_kernel<F><<<grid, F::threads, bytes, stream()>>>(p, statistics, to_q, to_k, to_v);
    check_launch("sdpa_backward, tensor cores");
    dq.collect(), dk.collect(), dv.collect();
  });
}

}  // namespace flr::cuda::attention::tensor
