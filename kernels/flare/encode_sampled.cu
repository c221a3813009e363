// The first hop where there is much to do: z[m] = Σₙ P[m,n] v[n] without a running maximum.
//
// What is subtracted from the scores of a latent need not be their maximum, only near enough: float
// has room for scores that lie 2^100 above it, and those that lie as far below do not count. So the
// maximum over 64 tokens spread over all is taken, which are among the tokens, so that the sum is at
// least 1. Scores and exponentials then follow each other without a branch, in warps that hold
// tokens (walk.cuh). A sum beyond 2^100 raises a flag, and encode_kernel does it over.
#include "flare/ring.cuh"

namespace flr::cuda::flare {
namespace {

constexpr int samples = 64;

/// Statistics: 0 what is subtracted, for lane t of latents 2t, 2t + 1, 8 + 2t, 8 + 2t + 1; 1 the sums
/// of weights, by latent.
template <int D>
using Slots = Group<D, 1, 2, Ring::bytes>;

template <int D, int T, int Warps>
__global__ void __launch_bounds__(Warps * 32) sampled_kernel(Encode p, Walk walk, float* o, float* ml,
                                                             int* overflow) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Block<Slots<D>, D, T> block(walk, shared);
  const index_t N = p.n.N;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const float scale = p.n.scale * log2_e;
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *overflow = 0;
  Ring ring;
  block.each_group([&](int head, int i, int row) {
    const auto at = block.group(head, i);
    const int h = block.h0 + head;
    const Rows<D> q = load_rows<D>(p.q.head(block.b, h), p.q.s.row, row, p.n.M);
    float x0 = -INFINITY, x1 = -INFINITY;
    for (int first = 0; first < samples; first += 16) {
      const Rows<D> k =
          load_rows<D>(p.k.head(block.b, h), p.k.s.row * (N / samples), first, samples);
      float s[2][4];
      scores<D>(s[0], q, k.lo, 0, 0, 0, 0);
      scores<D>(s[1], q, k.hi, 0, 0, 0, 0);
#pragma unroll
      for (int j = 0; j < 2; ++j)
        x0 = fmaxf(x0, fmaxf(s[j][0], s[j][1])), x1 = fmaxf(x1, fmaxf(s[j][2], s[j][3]));
    }
    x0 = quad_max(x0) * scale, x1 = quad_max(x1) * scale;
    at.save_sums({});
    at.save_rows(0, q);
    Ring::init(at.barriers());
    if (t > 1) return;
    at.statistic(0, g / 2 * 4 + t * 2 + g % 2) = t ? x1 : x0;
    at.statistic(1, g + 8 * t) = 0;
  });
  __syncthreads();
  block.each_walk([&](index_t first, int head, bool busy) {
    const int h = block.h0 + head;
    Rows<D> k[T], v[T];
    u32 ones[T][2];  // of tokens 2t, 2t + 1 and 8 + 2t, 9 + 2t; zeros beyond the last token
    if (busy) {
#pragma unroll
      for (int a = 0; a < T; ++a) {
        const index_t n = first + 16 * a;
        k[a] = load_left<D>(p.k.head(block.b, h), p.k.s.row, n, N);
        v[a] = transposed(load_rows<D>(p.v.head(block.b, h), p.v.s.row, n, N));
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const index_t left = N - (n + 8 * e + 2 * t);
          ones[a][e] = left > 1 ? 0x3f803f80u : left > 0 ? 0x3f80u : 0;
          asm volatile("" : "+r"(ones[a][e]));  // not to be made again in every step
        }
      }
    }
    ring.each_step(block, head, [&](const auto& at, auto wait) {
      Weights w[T];
      if (busy) {
        const Rows<D> q = at.rows_of(0);
        const float4 m4 = at.quad(0);
        const float m[4] = {m4.x, m4.y, m4.z, m4.w};
#pragma unroll
        for (int a = 0; a < T; ++a) {
          float s[2][4];
          scores<D>(s[0], k[a], q.lo, 0, 0, 0, 0);
          scores<D>(s[1], k[a], q.hi, 0, 0, 0, 0);
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            float& x = s[e / 4][e % 4];
            x = exp2_fast(fmaf(x, scale, -m[e / 4 * 2 + e % 2]));
          }
          w[a] = transposed(weights(s[0], s[1]));
        }
      }
      wait();
      if (busy) {
        Sums<D> z;
        at.load_sums(z);
        float &l0 = at.statistic(1, g), &l1 = at.statistic(1, g + 8);
        float l[4] = {l0, 0, l1, 0};
#pragma unroll
        for (int a = 0; a < T; ++a) {
          accumulate<D>(z, w[a], v[a]);
          mma_k16(l, w[a].a, ones[a][0], ones[a][1]);
        }
        at.save_sums(z);
        __syncwarp();
        if (t == 0) l0 = l[0], l1 = l[2];
      }
    });
  });
  __syncthreads();
  block.write_parts(o);
  block.each_group([&](int head, int i, int row) {
    if (t > 1 || row + g + 8 * t >= p.n.M) return;
    const auto at = block.group(head, i);
    *reinterpret_cast<float2*>(block.part(ml, head, 2) + 2 * (row + g + 8 * t)) = {
        at.statistic(0, g / 2 * 4 + t * 2 + g % 2), at.statistic(1, g + 8 * t)};
  });
}

/// Tiles of 16 tokens a warp; as measured on an H100.
template <int D>
inline constexpr int tiles = D <= 16 ? 4 : D == 32 ? 2 : 1;
constexpr int warps = 16;

}  // namespace

void encode_sampled(const Encode& p, Scratch<int>& overflow) {
  with_width<64>(p.n.D, [&]<int D>() {
    const auto kernel = sampled_kernel<D, tiles<D>, warps>;
    const Plan plan = plan_for("flare_encode", kernel, p.n, 16 * tiles<D>, warps, Slots<D>::bytes, 0);
    const index_t rows = index_t{p.n.B} * p.n.H * plan.splits * p.n.M;
    const Scratch<float> o(rows * D), ml(rows * 2);
    for (int i = 0; i < plan.passes; ++i) {
      const Walk walk{p.n, plan.order, i * plan.order.groups, 0, p.n.N};
      kernel<<<dim3(plan.splits, plan.others), 32 * plan.order.warps, plan.shared, stream()>>>(
          p, walk, o, ml, overflow.data());
      check_launch("flare_encode");
    }
    encode_merge(p, o, ml, int(plan.splits), {.raise = overflow.data()});
  });
}

}  // namespace flr::cuda::flare
