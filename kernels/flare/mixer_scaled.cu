// The second pass of mixer_backward for narrow heads: both hops in one product.
//
//   P[m,n] = 2^(S − lse_z[m]),  R[n,m] = 2^(S − lse_y[n])        (S and lse in base 2)
//   dS = P (dz·v − δz) + R (dy·z − δy),  dv = Σₘ P dz,  dk = scale Σₘ dS q,  dq = scale Σₙ dS k
//
// With a whole number L[m] near lse_z[m] and the largest of them, top, both weights are
//
//   W = 2^(S − L[m]):   P = W · 2^(L[m] − lse_z[m]),   R = W · 2^(L[m] − top) · 2^(top − lse_y[n])
//
// and the factors go into operands: dz' = 2^(L − lse_z) dz, which is rounded to bf16 here anyway,
// z' = 2^(L − top) z, exact, and dy' = 2^(top − lse_y) dy, whose rounding is that of one more bf16
// number. Then
//
//   dS = W ∘ (dz'·v + z'·dy' − δz' − 2^(L − top) δy'),   dv = Σₘ W dz'
//
// is one sum in the tensor cores; what is subtracted is a product over eight channels of its own,
// with δ in three bf16 pieces, 24 bits. So a score takes a multiply-add, an exponential and a
// multiplication, where apart it took three multiplications and two multiply-adds.
//
// The powers must be far from what bf16 and float hold. Where the log-sum-exps of a head's latents
// lie 60 or more powers of two apart, or a token's from the top, and where a warp has rows beyond
// the last token, R has an exponential of its own.
//
// Clocks of a quarter of a multiprocessor for 512 scores, counted in the machine code; what the
// latencies make of it was simulated, and measured on an H100 (N = 10⁶, H = 8; both hops' whole
// backward in ms). Unscaled is mixer_backward.cu's kernel at the same D:
//
//                     instructions  tensor cores  exponentials  shared memory  simulated  M=128  M=2048
//   D = 16: unscaled           189           144           128            244        321   2.29    20.2
//     4 tiles, 8 warps         114           160           128            132        250   2.53    18.4
//     2 tiles, 12 warps        129           160           128            221        284   2.23    17.9
//   D = 8:  unscaled           176            78           128            182        238   2.06    16.4
//     2 tiles, 16 warps        113            90           128            149        172   1.95    13.2
//     3 tiles, 12 warps        106            90           128            117        188   1.72    13.2
//
// No unit is busy all the time, so what counts is that different warps use different ones (ring.cuh).
#include "flare/scaled_latents.cuh"

namespace flr::cuda::flare {
namespace {

constexpr float most = 60;

struct Pass {
  MixerBackward p = {};
  Walk walk = {};
  Heads<const float> dz = {};
  TokenGrad dk = {}, dv = {};
  float* parts = nullptr;  ///< of dq, [B,H,splits,M,D], may be null
};

/// Two bf16 pieces of x, and the third with `other` beside it: exact to 24 bits.
struct Pieces {
  u32 first, last;
  __device__ Pieces(float x, float other) {
    const float a = low_bf16(pack_bf16(x, 0)), b = low_bf16(pack_bf16(x - a, 0));
    first = pack_bf16(a, b), last = pack_bf16(x - a - b, other);
  }
};

/// Eight channels that give −δz' − 2^(L − top) δy', as pairs of lanes t = 0 … 3:
///   tokens   (−δy' 1st, 2nd)         (−δy' 3rd, 1)             (1, 1)                 0
///   latents  (2^(L−top), 2^(L−top))  (2^(L−top), −δz' 1st)     (−δz' 2nd, 3rd)        0
__device__ inline u32 subtracted_of_token(float minus_delta) {
  constexpr u32 one = 0x3f80u;
  const Pieces d(minus_delta, 1);
  const int t = threadIdx.x % 4;
  return t == 0 ? d.first : t == 1 ? d.last : t == 2 ? one << 16 | one : 0;
}
__device__ inline u32 subtracted_of_latent(float minus_delta, float power) {
  const Pieces d(minus_delta, 0);
  const int t = threadIdx.x % 4;
  const u32 p = pack_bf16(power, power);
  return t == 0   ? p
         : t == 1 ? (p & 0xffffu) | d.first << 16
         : t == 2 ? d.first >> 16 | d.last << 16
                  : 0;
}

template <int D>
__device__ void scale_row(u32 (&r)[regs<D>], float factor) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j)
    r[j] = pack_bf16(low_bf16(r[j]) * factor, high_bf16(r[j]) * factor);
}

/// Row m of floats, times a factor and rounded; zeros beyond M.
template <int D>
__device__ void load_floats(u32 (&r)[regs<D>], const float* x, index_t stride, int m, int M,
                            float factor) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) {
    r[j] = 0;
    if (m >= M || !holds<D>(t)) continue;
    const float2 c = *reinterpret_cast<const float2*>(x + m * stride + channel<D>(j, t));
    r[j] = pack_bf16(c.x * factor, c.y * factor);
  }
}

/// Tokens of a walk, and the sums of their gradients.
template <int D, int T>
struct Tokens {
  Rows<D> k[T], v[T], dy[T], kc[T];
  u32 subtracted[T][2];
  float lse[T][2], delta[T][2];  ///< lse_y in base 2 and −δy of tokens g and g + 8; unscaled ones
  bool scaled;
  Sums<D> dk[T] = {}, dv[T] = {};

  /// `range`: the least and the largest L of the head, the latter infinite where they are too far
  /// apart.
  __device__ void load(const MixerBackward& p, int b, int h, index_t first, float2 range) {
    const int g = threadIdx.x % 32 / 4;
    const index_t N = p.n.N;
    const float* lse_row = p.lse_y + (index_t{b} * p.n.H + h) * N;
    scaled = true;
#pragma unroll
    for (int a = 0; a < T; ++a)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const index_t n = first + 16 * a + 8 * e + g;
        lse[a][e] = n < N ? lse_row[n] * log2_e : INFINITY;
        scaled &= fabsf(lse[a][e] - range.y) < most;  // not if either is infinite
      }
    scaled = __all_sync(0xffffffffu, scaled);
#pragma unroll
    for (int a = 0; a < T; ++a) {
      const index_t n = first + 16 * a;
      k[a] = load_left<D>(p.k.head(b, h), p.k.s.row, n, N);
      v[a] = load_left<D>(p.v.head(b, h), p.v.s.row, n, N);
      dy[a] = load_left<D>(p.dy.head(b, h), p.dy.s.row, n, N);
      const Rows<D> y = load_rows<D>(p.y.head(b, h), p.y.s.row, n, N);
      if (scaled) {
        scale_row<D>(dy[a].lo, exp2_fast(range.y - lse[a][0]));
        scale_row<D>(dy[a].hi, exp2_fast(range.y - lse[a][1]));
      }
      delta[a][0] = -quad_sum(dot<D>(dy[a].lo, y.lo));
      delta[a][1] = -quad_sum(dot<D>(dy[a].hi, y.hi));
      // Unscaled, δy is subtracted outside of the product.
      subtracted[a][0] = subtracted_of_token(scaled ? delta[a][0] : 0);
      subtracted[a][1] = subtracted_of_token(scaled ? delta[a][1] : 0);
      kc[a] = transposed(k[a]);
    }
  }
};

/// v·dz' + dy·z' for 8 latents, on top of d. At D = 8 both are one product over 16 channels.
template <int D>
__device__ void both(float (&d)[4], const Rows<D>& v, const u32 (&dz)[regs<D>], const Rows<D>& dy,
                     const u32 (&z)[regs<D>]) {
  if constexpr (regs<D> == 1) {
    mma_k16(d, {v.lo[0], v.hi[0], dy.lo[0], dy.hi[0]}, dz[0], z[0], d);
  } else {
    scores<D>(d, v, dz, d[0], d[1], d[2], d[3]);
    scores<D>(d, dy, z, d[0], d[1], d[2], d[3]);
  }
}

/// Tokens against 16 latents. `Scaled` as the tokens are; `top` is the head's. What is only read is
/// asked for before the wait.
template <bool Scaled, int D, int T, class Wait>
__device__ void add(Tokens<D, T>& x, const ScaledLatents<D>& at, const typename ScaledLatents<D>::Lane& lane,
                    float scale, float top, Wait wait) {
  Rows<D> q, dz, z, qc, dzc;
  u32 subtracted[2];
  at.load(q, dz, z, subtracted, lane);
  const float4 l4 = at.load_whole(lane);
  const float whole[4] = {l4.x, l4.y, l4.z, l4.w};
  at.load_transposed(qc, dzc, lane);
  wait();
  Sums<D> dq;
  at.load_sums(dq, lane);
#pragma unroll
  for (int a = 0; a < T; ++a) {
    constexpr float zero[4] = {};
    const u32(&left)[2] = x.subtracted[a];
    float w[2][4], slope[2][4], other[2][4];
    scores<D>(w[0], x.k[a], q.lo, 0, 0, 0, 0);
    scores<D>(w[1], x.k[a], q.hi, 0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 2; ++i) mma_k8(slope[i], {left[0], left[1]}, subtracted[i], zero);
    if (Scaled) {
      both<D>(slope[0], x.v[a], dz.lo, x.dy[a], z.lo);
      both<D>(slope[1], x.v[a], dz.hi, x.dy[a], z.hi);
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float(&s)[4] = slope[i];
        scores<D>(s, x.v[a], i ? dz.hi : dz.lo, s[0], s[1], s[2], s[3]);
        scores<D>(other[i], x.dy[a], i ? z.hi : z.lo, 0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      float &weight = w[e / 4][e % 4], &s = slope[e / 4][e % 4];
      const float l = whole[e / 4 * 2 + e % 2], score = weight;
      weight = exp2_fast(fmaf(score, scale, -l));
      if (Scaled) {
        s *= weight;
      } else {
        const float lse = x.lse[a][e % 4 / 2];
        if (lse == INFINITY) weight = 0;
        const float r = l == INFINITY ? 0.f : exp2_fast(fmaf(score, scale, -lse));
        // z' as it was; 1 where it is.
        const float undo = top == INFINITY ? 1.f : exp2_fast(top - l);
        s = fmaf(weight, s, r * fmaf(other[e / 4][e % 4], undo, x.delta[a][e % 4 / 2]));
      }
    }
    accumulate<D>(x.dv[a], weights(w[0], w[1]), dzc);
    const Weights ds = weights(slope[0], slope[1]);
    accumulate<D>(x.dk[a], ds, qc);
    accumulate<D>(dq, transposed(ds), x.kc[a]);
  }
  at.save_sums(dq, lane);
}

/// The least and the largest L of a head's latents in this launch.
template <class B>
__device__ float2 range_of(const B& block, const MixerBackward& p, int head) {
  const Walk& walk = block.walk;
  const float* lse = p.lse_z + (index_t{block.b} * p.n.H + block.h0 + head) * p.n.M;
  const int begin = walk.group * 16, end = begin + walk.order.groups * 16;
  float low = INFINITY, high = -INFINITY;
  for (int m = begin + threadIdx.x % 32; m < end && m < p.n.M; m += 32) {
    const float x = rintf(lse[m] * log2_e);
    low = fminf(low, x), high = fmaxf(high, x);
  }
  return {-warp_max(-low), warp_max(high)};
}

template <int D, int T, int Warps>
__global__ void __launch_bounds__(Warps * 32) scaled_kernel(Pass pass) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Block<ScaledLatents<D>, D, T> block(pass.walk, shared);
  const MixerBackward& p = pass.p;
  const Order& order = pass.walk.order;
  for (int head = block.warp; head < order.heads; head += order.warps) {
    const float2 range = range_of(block, p, head);
    if (threadIdx.x % 32 == 0)
      block.pairs()[head] = {range.x, range.y - range.x < most ? range.y : INFINITY};
  }
  __syncthreads();
  block.each_group([&](int head, int i, int row) {
    const auto at = block.group(head, i);
    const int h = block.h0 + head, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, M = p.n.M;
    const float* lse = p.lse_z + (index_t{block.b} * p.n.H + h) * M;
    const float* dz_head = pass.dz.head(block.b, h);
    const float top = block.pairs()[head].y;
    Rows<D> z = load_rows<D>(p.z.head(block.b, h), p.z.s.row, row, M), dz;
    float whole[2], power[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int m = row + g + 8 * e;
      const float l = m < M ? lse[m] * log2_e : 0;
      whole[e] = m < M ? rintf(l) : INFINITY;
      power[e] = top == INFINITY || m >= M ? 0.f : exp2_fast(whole[e] - top);
      load_floats<D>(e ? dz.hi : dz.lo, dz_head, pass.dz.s.row, m, M,
                     m < M ? exp2_fast(whole[e] - l) : 0.f);
    }
    const float lo = quad_sum(dot<D>(dz.lo, z.lo)), hi = quad_sum(dot<D>(dz.hi, z.hi));
    at.save_sums({});
    at.save_rows(at.q, load_rows<D>(p.q.head(block.b, h), p.q.s.row, row, M));
    at.save_rows(at.dz, dz);
    if (top != INFINITY) scale_row<D>(z.lo, power[0]), scale_row<D>(z.hi, power[1]);
    at.save_rows(at.z, z);
    at.save_subtracted(subtracted_of_latent(-lo, power[0]), subtracted_of_latent(-hi, power[1]));
    if (t == 0) at.save_whole(g, whole[0]), at.save_whole(g + 8, whole[1]);
    Ring::init(at.barriers());
  });
  __syncthreads();

  const float scale = p.n.scale * log2_e;
  const typename ScaledLatents<D>::Lane lane;
  Ring ring;
  block.each_walk([&](index_t first, int head, bool busy) {
    if (!busy) return ring.each_step(block, head, [](auto, auto wait) { wait(); });
    const int g = threadIdx.x % 32 / 4;
    const float top = block.pairs()[head].y;
    Tokens<D, T> tokens;
    tokens.load(p, block.b, block.h0 + head, first, block.pairs()[head]);
    const auto walk = [&]<bool Scaled>() {
      ring.each_step(block, head, [&](const ScaledLatents<D>& at, auto wait) {
        add<Scaled>(tokens, at, lane, scale, top, wait);
      });
    };
    if (tokens.scaled)
      walk.template operator()<true>();
    else
      walk.template operator()<false>();
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

template <int D, int T, int Warps>
void run(const MixerBackward& p, const Heads<const float>& dz) {
  const Sizes& n = p.n;
  const auto kernel = scaled_kernel<D, T, Warps>;
  const Plan plan =
      plan_for("flare_mixer_backward", kernel, n, 16 * T, Warps, ScaledLatents<D>::bytes, 2);
  const index_t heads = index_t{n.B} * n.H, carried = plan.passes > 1 ? heads * plan.range * D : 0;
  const Scratch<float> parts(p.dq.wanted() ? heads * plan.splits * n.M * D : 0);
  const Scratch<float> dk(p.dk.wanted() ? carried : 0), dv(p.dv.wanted() ? carried : 0);
  Pass pass;
  pass.p = p, pass.dz = dz;
  pass.dk = {p.dk, carried ? dk.data() : nullptr};
  pass.dv = {p.dv, carried ? dv.data() : nullptr};
  pass.dk.factor = n.scale;
  pass.parts = p.dq.wanted() ? parts.data() : nullptr;
  each_launch(pass, n, plan, [&](const Pass& one) {
    kernel<<<dim3(plan.splits, plan.others), 32 * plan.order.warps, plan.shared, stream()>>>(one);
    check_launch("flare_mixer_backward");
  });
  reduce_partials(n, parts, int(plan.splits), n.scale, p.dq);
}

}  // namespace

void mixer_backward_scaled(const MixerBackward& p, const Heads<const float>& dz) {
  // Warps of few tiles read shared memory more often; many tiles leave registers for few warps.
  with_width<16>(p.n.D, [&]<int D>() { run<D, D <= 8 ? 3 : 2, 12>(p, dz); });
}

}  // namespace flr::cuda::flare
