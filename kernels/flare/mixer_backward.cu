// Gradients of both hops at once: z = P v, y = R z with P[m,n] = exp(S[m,n] − lse_z[m]) and
// R[n,m] = exp(S[m,n] − lse_y[n]) of the same scores S = scale · q kᵀ:
//
//   dz = Rᵀ dy;   dS[m,n] = P[m,n] (dz[m]·v[n] − δz[m]) + R[n,m] (dy[n]·z[m] − δy[n]),
//   δz[m] = dz[m]·z[m], δy[n] = dy[n]·y[n];   dq = scale · dS k, dk = scale · dSᵀ q, dv = Pᵀ dz.
//
// Against the two hops' own backward passes (decode_backward, encode_backward) this takes the scores
// and their exponentials twice where those take them twice as well, but dS once, and so half of the
// products and sums. In the second pass one exponential serves both hops: R = P · 2^(lse_z − lse_y),
// a factor for the latent and one for the token. Where the two lie too far apart for that in float
// (90 powers of two), R is taken from an exponential of its own.
//
// A warp keeps 16 T tokens in registers and walks over the latents of their head, which lie in
// shared memory as fragments; gradients of tokens stay in registers, gradients of latents are summed
// in shared memory by warps round a ring (ring.cuh). Bound by issue slots and exponentials alike. Up
// to D = 16 the second pass is that of mixer_scaled.cu.
#include "flare/ring.cuh"

namespace flr::cuda::flare {
namespace {

struct Pass {
  MixerBackward p = {};
  Walk walk = {};
  In dz = {};
  TokenGrad dk = {}, dv = {};
  float* parts = nullptr;  ///< of dq or dz, [B,H,splits,M,D]
};

/// Statistics of 16 latents for lane t. 0: lse_z in base 2; 1: 2^(lse_z − top), both of latents 2t,
/// 2t + 1, 8 + 2t, 8 + 2t + 1; 2 and 3: −δz twice of latents 2t, 2t + 1, and of 8 + 2t, 8 + 2t + 1.
template <int D>
using Latents3 = Group<D, 3, 4, Ring::bytes>;
template <int D>
using Latents1 = Group<D, 1, 0, Ring::bytes>;

/// dz = Rᵀ dy.
template <int D, int T, int Warps>
__global__ void __launch_bounds__(Warps * 32) latent_kernel(Pass pass) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Block<Latents1<D>, D, T> block(pass.walk, shared);
  const MixerBackward& p = pass.p;
  const index_t N = p.n.N;
  const int g = threadIdx.x % 32 / 4;
  const float scale = p.n.scale * log2_e;
  Ring ring;
  block.each_group([&](int head, int i, int row) {
    const auto at = block.group(head, i);
    at.save_sums({});
    at.save_rows(0, load_rows<D>(p.q.head(block.b, block.h0 + head), p.q.s.row, row, p.n.M));
    Ring::init(at.barriers());
  });
  __syncthreads();
  block.each_walk([&](index_t first, int head, bool busy) {
    const int h = block.h0 + head;
    Rows<D> k[T], dy[T];
    float lse[T][2];  // of tokens g and g + 8
    if (busy) {
      const float* lse_row = p.lse_y + (index_t{block.b} * p.n.H + h) * N;
#pragma unroll
      for (int a = 0; a < T; ++a) {
        const index_t n = first + 16 * a;
        k[a] = load_left<D>(p.k.head(block.b, h), p.k.s.row, n, N);
        dy[a] = transposed(load_rows<D>(p.dy.head(block.b, h), p.dy.s.row, n, N));
#pragma unroll
        for (int e = 0; e < 2; ++e)
          lse[a][e] = n + g + 8 * e < N ? lse_row[n + g + 8 * e] * log2_e : INFINITY;
      }
    }
    ring.each_step(block, head, [&](const auto& at, auto wait) {
      Weights w[T];
      if (busy) {
        const Rows<D> q = at.rows_of(0);
#pragma unroll
        for (int a = 0; a < T; ++a) {
          float s[2][4];
          scores<D>(s[0], k[a], q.lo, 0, 0, 0, 0);
          scores<D>(s[1], k[a], q.hi, 0, 0, 0, 0);
#pragma unroll
          for (int e = 0; e < 8; ++e)
            s[e / 4][e % 4] = exp2_fast(fmaf(s[e / 4][e % 4], scale, -lse[a][e % 4 / 2]));
          w[a] = transposed(weights(s[0], s[1]));
        }
      }
      wait();
      if (busy) {
        Sums<D> dz;
        at.load_sums(dz);
#pragma unroll
        for (int a = 0; a < T; ++a) accumulate<D>(dz, w[a], dy[a]);
        at.save_sums(dz);
      }
    });
  });
  __syncthreads();
  block.write_parts(pass.parts);
}

/// The sums of two rows over their four lanes, each twice: four registers that nobody moves.
__device__ inline void quad_sums(float (&c)[4], float lo, float hi) {
  lo += __shfl_xor_sync(0xffffffffu, lo, 1), hi += __shfl_xor_sync(0xffffffffu, hi, 1);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float x = e < 2 ? lo : hi;
    c[e] = x + shuffle_apart(x);
  }
}

/// Tokens of a walk, and the sums of their gradients.
template <int D, int T>
struct Tokens {
  Rows<D> k[T], v[T], dy[T], kc[T];
  float lse[T][2];    ///< of tokens g and g + 8, lse_y in base 2
  float delta[T][4];  ///< −δy, twice of token g, twice of g + 8
  Sums<D> dk[T] = {}, dv[T] = {};

  __device__ void load(const MixerBackward& p, int b, int h, index_t first) {
    const int g = threadIdx.x % 32 / 4;
    const index_t N = p.n.N;
    const float* lse_row = p.lse_y + (index_t{b} * p.n.H + h) * N;
#pragma unroll
    for (int a = 0; a < T; ++a) {
      const index_t n = first + 16 * a;
      k[a] = load_left<D>(p.k.head(b, h), p.k.s.row, n, N);
      v[a] = load_left<D>(p.v.head(b, h), p.v.s.row, n, N);
      dy[a] = load_left<D>(p.dy.head(b, h), p.dy.s.row, n, N);
      const Rows<D> y = load_rows<D>(p.y.head(b, h), p.y.s.row, n, N);
#pragma unroll
      for (int e = 0; e < 2; ++e)
        lse[a][e] = n + g + 8 * e < N ? lse_row[n + g + 8 * e] * log2_e : INFINITY;
      const float lo = -dot<D>(dy[a].lo, y.lo), hi = -dot<D>(dy[a].hi, y.hi);
      quad_sums(delta[a], lo, hi);
      kc[a] = transposed(k[a]);
    }
  }
  /// Turns lse_y into 2^(top − lse_y), the token's factor of R, if that is safe for all, and if all
  /// are tokens: rows beyond the last have weights to be masked.
  __device__ bool factors(float2 range) {
    constexpr float most = 90;
    bool safe = range.y - range.x < most;
#pragma unroll
    for (int a = 0; a < T; ++a)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        safe &= fabsf(lse[a][e] - range.y) < most;
    if (!__all_sync(0xffffffffu, safe)) return false;
#pragma unroll
    for (int a = 0; a < T; ++a)
#pragma unroll
      for (int e = 0; e < 2; ++e) lse[a][e] = exp2_fast(range.y - lse[a][e]);
    return true;
  }
};

/// Tokens against 16 latents, on top of dq.
template <bool Factors, int D, int T>
__device__ void add(Tokens<D, T>& x, Sums<D>& dq, const Latents3<D>& at, float scale) {
  const Rows<D> q = at.rows_of(0), z = at.rows_of(1), dz = at.rows_of(2), qc = transposed(q),
                dzc = transposed(dz);
  const float4 l4 = at.quad(0), f4 = at.quad(1), lo = at.quad(2), hi = at.quad(3);
  const float lse[4] = {l4.x, l4.y, l4.z, l4.w}, factor[4] = {f4.x, f4.y, f4.z, f4.w};
#pragma unroll
  for (int a = 0; a < T; ++a) {
    float s[2][4], ds[2][4], dr[2][4];
    scores<D>(s[0], x.k[a], q.lo, 0, 0, 0, 0);
    scores<D>(s[1], x.k[a], q.hi, 0, 0, 0, 0);
    scores<D>(ds[0], x.v[a], dz.lo, lo.x, lo.y, lo.z, lo.w);
    scores<D>(ds[1], x.v[a], dz.hi, hi.x, hi.y, hi.z, hi.w);
    const float(&d)[4] = x.delta[a];
    scores<D>(dr[0], x.dy[a], z.lo, d[0], d[1], d[2], d[3]);
    scores<D>(dr[1], x.dy[a], z.hi, d[0], d[1], d[2], d[3]);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int column = e / 4 * 2 + e % 2, row = e % 4 / 2;
      float &w = s[e / 4][e % 4], &slope = ds[e / 4][e % 4], other = dr[e / 4][e % 4];
      const float score = w * scale;
      w = exp2_fast(fmaf(w, scale, -lse[column]));
      if (Factors) {
        slope = w * fmaf(factor[column] * x.lse[a][row], other, slope);
      } else {
        if (x.lse[a][row] == INFINITY) w = 0;
        const float r = lse[column] == INFINITY ? 0.f : exp2_fast(score - x.lse[a][row]);
        slope = fmaf(w, slope, r * other);
      }
    }
    accumulate<D>(x.dv[a], weights(s[0], s[1]), dzc);
    const Weights slope = weights(ds[0], ds[1]);
    accumulate<D>(x.dk[a], slope, qc);
    accumulate<D>(dq, transposed(slope), x.kc[a]);
  }
}

template <int D, int T, int Warps>
__global__ void __launch_bounds__(Warps * 32) mixer_kernel(Pass pass) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Block<Latents3<D>, D, T> block(pass.walk, shared);
  const MixerBackward& p = pass.p;
  const Order& order = pass.walk.order;
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  Ring ring;
  block.each_group([&](int head, int i, int row) {
    const auto at = block.group(head, i);
    const int h = block.h0 + head;
    Ring::init(at.barriers());
    const Rows<D> z = load_rows<D>(p.z.head(block.b, h), p.z.s.row, row, p.n.M),
                  dz = load_rows<D>(pass.dz.head(block.b, h), pass.dz.s.row, row, p.n.M);
    at.save_sums({});
    at.save_rows(0, load_rows<D>(p.q.head(block.b, h), p.q.s.row, row, p.n.M));
    at.save_rows(1, z);
    at.save_rows(2, dz);
    const float lo = quad_sum(dot<D>(dz.lo, z.lo)), hi = quad_sum(dot<D>(dz.hi, z.hi));
    if (t > 1) return;
    const int m = row + g + 8 * t, quad = g / 2 * 4, place = quad + t * 2 + g % 2;
    const float* lse = p.lse_z + (index_t{block.b} * p.n.H + h) * p.n.M;
    at.statistic(0, place) = m < p.n.M ? lse[m] * log2_e : INFINITY;
    at.statistic(2 + t, quad + g % 2) = at.statistic(2 + t, quad + g % 2 + 2) = -(t ? hi : lo);
  });
  __syncthreads();
  for (int head = block.warp; head < order.heads; head += order.warps) {
    float low = INFINITY, high = -INFINITY;
    for (int i = lane; i < 16 * order.groups; i += 32) {
      const float x = block.group(head, i / 16).statistic(0, i % 16);
      low = fminf(low, x);
      if (x != INFINITY) high = fmaxf(high, x);
    }
    low = -warp_max(-low), high = warp_max(high);
    for (int i = lane; i < 16 * order.groups; i += 32) {
      const auto at = block.group(head, i / 16);
      const float x = at.statistic(0, i % 16);
      at.statistic(1, i % 16) = x == INFINITY ? 0.f : exp2_fast(x - high);
    }
    if (lane == 0) block.pairs()[head] = {low, high};
  }
  __syncthreads();

  const float scale = p.n.scale * log2_e;
  block.each_walk([&](index_t first, int head, bool busy) {
    Tokens<D, T> tokens;
    bool factors = false;
    if (busy) {
      tokens.load(p, block.b, block.h0 + head, first);
      factors = tokens.factors(block.pairs()[head]);
    }
    ring.each_step(block, head, [&](const auto& at, auto wait) {
      wait();
      if (busy) {
        Sums<D> dq;
        at.load_sums(dq);
        if (factors)
          add<true>(tokens, dq, at, scale);
        else
          add<false>(tokens, dq, at, scale);
        at.save_sums(dq);
      }
    });
    if (!busy) return;
#pragma unroll
    for (int a = 0; a < 2 * T; ++a) {
      const index_t n = first + 8 * a + g;
      float c[2 * regs<D>];
      row_of<D>(c, tokens.dk[a / 2], a % 2, 1);
      put_row<D>(pass.dk, p.n, block.b, block.h0 + head, n, c);
      row_of<D>(c, tokens.dv[a / 2], a % 2, 1);
      put_row<D>(pass.dv, p.n, block.b, block.h0 + head, n, c);
    }
  });
  __syncthreads();
  if (pass.parts) block.write_parts(pass.parts);
}

/// Tiles of 16 tokens a warp, and the most warps that registers allow; as measured on an H100.
template <int D>
struct Tuning {
  static constexpr int tiles = D <= 32 ? 2 : 1, warps = 8;
  static constexpr int latent_tiles = D <= 16 ? 4 : D == 32 ? 2 : 1, latent_warps = 16;
};

}  // namespace

void mixer_backward(const MixerBackward& p) {
  with_width<64>(p.n.D, [&]<int D>() {
    using Tune = Tuning<D>;
    const Sizes& n = p.n;
    const auto launch = [&](auto* kernel, const Pass& pass, const Plan& plan) {
      each_launch(pass, n, plan, [&](const Pass& one) {
        kernel<<<dim3(plan.splits, plan.others), 32 * plan.order.warps, plan.shared, stream()>>>(one);
        check_launch("flare_mixer_backward");
      });
    };
    const index_t heads = index_t{n.B} * n.H;
    constexpr bool scaled = D <= 16;  // dz is rounded there, behind a factor
    const Scratch<bf16> dz(scaled ? 0 : heads * n.M * D);
    const Scratch<float> exact(scaled ? heads * n.M * D : 0);
    const HeadStrides rows{index_t{n.H} * n.M * D, index_t{n.M} * D, D};
    {  // parts are given back before the second pass takes memory
      const auto kernel = latent_kernel<D, Tune::latent_tiles, Tune::latent_warps>;
      const Plan plan = plan_for("flare_mixer_backward", kernel, n, 16 * Tune::latent_tiles,
                                 Tune::latent_warps, Latents1<D>::bytes, 0);
      const Scratch<float> parts(heads * plan.splits * n.M * D);
      Pass pass{.p = p};
      pass.parts = parts;
      launch(kernel, pass, plan);
      const int splits = int(plan.splits);
      if (scaled)
        reduce_partials(n, parts, splits, 1, GradOf<float>{{exact.data(), rows}, GradMode::overwrite});
      else
        reduce_partials(n, parts, splits, 1, Grad{{dz.data(), rows}, GradMode::overwrite});
    }
    if constexpr (scaled) {
      mixer_backward_scaled(p, {exact.data(), rows});
    } else {
      const auto kernel = mixer_kernel<D, Tune::tiles, Tune::warps>;
      const Plan plan =
          plan_for("flare_mixer_backward", kernel, n, 16 * Tune::tiles, Tune::warps, Latents3<D>::bytes, 2);
      const Scratch<float> parts(p.dq.wanted() ? heads * plan.splits * n.M * D : 0);
      const index_t carried = plan.passes > 1 ? heads * plan.range * D : 0;
      const Scratch<float> dk(p.dk.wanted() ? carried : 0), dv(p.dv.wanted() ? carried : 0);
      Pass pass{.p = p, .dz = {dz.data(), rows}};
      pass.dk = {p.dk, carried ? dk.data() : nullptr};
      pass.dv = {p.dv, carried ? dv.data() : nullptr};
      pass.dk.factor = n.scale;
      pass.parts = p.dq.wanted() ? parts.data() : nullptr;
      launch(kernel, pass, plan);
      reduce_partials(n, parts, int(plan.splits), n.scale, p.dq);
    }
  });
}

}  // namespace flr::cuda::flare
