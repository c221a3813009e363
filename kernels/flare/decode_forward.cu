// y[n] = Σₘ P[n,m] z[m], P = softmax over m of scale · k[n]·q[m]: the second hop, N tokens, M
// latents.
//
// Bound by one exponential a score where M is more than about 32, by bytes below. A warp takes 16
// tokens of one head and walks over the latents, which lie in shared memory as fragments, 64 at a
// time: up to M = 64 that is a softmax in registers. A block holds as many neighbouring heads as fit,
// so that a token's line is used whole, and strides over the tokens; the latents are loaded once a
// block, or in turns where one head's do not fit.
//
// Scores are measured from the maximum of the first latents: what is larger makes weights beyond 1,
// which are as exact. Only where the sums say that weights reached 2⁶⁰, or latents come in turns, the
// walk follows the running maximum.
#include "flare/fragments.cuh"
#include "common/resident_blocks.hpp"

namespace flr::cuda::flare {
namespace {

/// What scores are measured from: the maximum so far, that of these latents, or what was before.
enum class Measure { running, these, before };

/// A softmax over the columns, for rows g and g + 8 of a fragment.
template <int D>
struct Softmax {
  Sums<D> y = {};
  float l[4] = {};
  float m0 = -INFINITY, m1 = -INFINITY;  ///< what scores are measured from, times scale · log₂e

  /// Whether weights may have left their range.
  __device__ bool out_of_range() const {
    constexpr float most = 0x1p60f;
    return !(l[0] < most && l[2] < most);
  }

  /// 16 G latents from `first` on; they may end at M inside if G is 1.
  template <int G, Measure From>
  __device__ void add(const Rows<D>& k, const uint2* latents, float scale, int first, int M) {
    constexpr int R = rows_words<D>;
    const int t = threadIdx.x % 4;
    float s[2 * G][4];
#pragma unroll
    for (int i = 0; i < G; ++i) {
      const Rows<D> q = load_right<D>(latents + 2 * i * R);
      float pad[4] = {};
      if constexpr (G == 1) {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          pad[e] = first + 2 * t + e % 2 + e / 2 * 8 < M ? 0.f : -INFINITY;
      }
      scores<D>(s[2 * i], k, q.lo, pad[0], pad[1], pad[0], pad[1]);
      scores<D>(s[2 * i + 1], k, q.hi, pad[2], pad[3], pad[2], pad[3]);
    }
    if constexpr (From != Measure::before) {
      float x0 = -INFINITY, x1 = -INFINITY;
#pragma unroll
      for (int i = 0; i < 2 * G; ++i) {
        x0 = fmaxf(x0, fmaxf(s[i][0], s[i][1]));
        x1 = fmaxf(x1, fmaxf(s[i][2], s[i][3]));
      }
      x0 = fmaxf(m0, quad_max(x0) * scale), x1 = fmaxf(m1, quad_max(x1) * scale);
      if constexpr (From == Measure::running) {
        const float f0 = exp2_fast(m0 - x0), f1 = exp2_fast(m1 - x1);
#pragma unroll
        for (int j = 0; j < regs<D>; ++j) y[j][0] *= f0, y[j][1] *= f0, y[j][2] *= f1, y[j][3] *= f1;
        l[0] *= f0, l[1] *= f0, l[2] *= f1, l[3] *= f1;
      }
      m0 = x0, m1 = x1;
    }
#pragma unroll
    for (int i = 0; i < 2 * G; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[i][e] = exp2_fast(fmaf(s[i][e], scale, e < 2 ? -m0 : -m1));
#pragma unroll
    for (int i = 0; i < G; ++i) {
      const Weights w = weights(s[2 * i], s[2 * i + 1]);
      accumulate<D>(y, w, load_shared<D>(latents + (2 * i + 1) * R));
      mma_k16(l, w.a, ones, ones);  // the sum of what was multiplied: the rounded weights
    }
  }
  static constexpr u32 ones = 0x3f803f80u;
};

/// Latents [from, from + count) · 16 of `heads` heads: q as it comes, then z transposed.
template <int D, int warps>
__device__ void load_latents(uint2* to, const Decode& p, int b, int h0, int heads, int from,
                             int count, int room) {
  for (int item = threadIdx.x / 32; item < heads * count; item += warps) {
    const int h = h0 + item / count, i = item % count;
    if (h >= p.n.H) continue;
    uint2* at = to + (item / count * room + i) * 2 * rows_words<D>;
    const index_t row = index_t{from + i} * 16;
    save_right<D>(at, load_rows<D>(p.q.head(b, h), p.q.s.row, row, p.n.M));
    save_shared<D>(at + rows_words<D>,
                   transposed(load_rows<D>(p.z.head(b, h), p.z.s.row, row, p.n.M)));
  }
}

/// `heads` heads a block, a power of two; `room` groups of 16 latents at a time.
template <int D, int warps>
__global__ void __launch_bounds__(warps * 32) decode_kernel(Decode p, int heads, int room) {
  extern __shared__ uint2 latents[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int head_blocks = (p.n.H + heads - 1) / heads, at_once = warps / heads;
  const int b = blockIdx.y / head_blocks, h0 = blockIdx.y % head_blocks * heads;
  const int h = h0 + warp % heads, groups = (p.n.M + 15) / 16;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, tiles = (N + 15) / 16;
  const index_t stride = index_t{gridDim.x} * at_once, begin = index_t{blockIdx.x} * at_once;
  for (index_t step = begin; step < tiles; step += stride) {
    const index_t tile = step + warp / heads, first = tile * 16;
    const bool busy = h < p.n.H && tile < tiles;
    Rows<D> k = {};
    if (busy) {
      k = load_left<D>(p.k.head(b, h), p.k.s.row, first, N);
      const index_t next = first + stride * 16;
      prefetch_row(p.k.head(b, h), p.k.s.row, next, next + 16 < N ? next + 16 : N);
    }
    Softmax<D> state;
    for (int from = 0; from < groups; from += room) {
      const int count = groups - from < room ? groups - from : room;
      if (step == begin || room < groups) {
        __syncthreads();
        load_latents<D, warps>(latents, p, b, h0, heads, from, count, room);
        __syncthreads();
      }
      if (!busy) continue;
      const uint2* at = latents + warp % heads * room * 2 * rows_words<D>;
      const int whole = p.n.M / 16 - from < count ? p.n.M / 16 - from : count;
      const auto add = [&]<int G, Measure From>(int i) {
        state.template add<G, From>(k, at + i * 2 * rows_words<D>, scale, (from + i) * 16, p.n.M);
      };
      const auto walk = [&]<Measure From>(int i) {
        for (; i + 4 <= whole; i += 4) add.template operator()<4, From>(i);
        for (; i < count; ++i) add.template operator()<1, From>(i);
      };
      using enum Measure;
      bool follow = D > 64 || room < groups;
      if (D <= 64 && !follow) {
        if (whole >= 4) add.template operator()<4, these>(0);
        else add.template operator()<1, these>(0);
        walk.template operator()<before>(whole >= 4 ? 4 : 1);
        follow = __any_sync(0xffffffffu, state.out_of_range());
        if (follow) state = Softmax<D>();
      }
      if (follow) walk.template operator()<running>(0);
    }
    if (!busy) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const index_t n = first + g + 8 * half;
      if (n >= N) continue;
      const float l = state.l[2 * half], m = half ? state.m1 : state.m0;
      float y[2 * regs<D>];
      row_of<D>(y, state.y, half, 1.f / l);
      store_row<D>(p.y.head(b, h) + n * p.y.s.row, y, t, false);
      if (p.lse && t == 0) p.lse[(index_t{b} * p.n.H + h) * N + n] = (m + log2f(l)) * ln_2;
    }
  }
}

}  // namespace

void decode(const Decode& p) {
  with_width(p.n.D, [&]<int D>() {
    const int groups = (p.n.M + 15) / 16, group_bytes = 2 * rows_words<D> * int(sizeof(uint2));
    const int budget = max_shared_bytes() / 2 - 1024;  // two blocks on a multiprocessor
    // Latents that leave room for one block only: one of twice the warps.
    constexpr int few = 8, many = 16;
    const int warps = groups * group_bytes > budget ? many : few;
    const auto kernel = warps == few ? decode_kernel<D, few> : decode_kernel<D, many>;
    int heads = few;
    while (heads > 1 && (heads / 2 >= p.n.H || heads * groups * group_bytes > budget)) heads /= 2;
    const int most = (max_shared_bytes() - 1024) / (heads * group_bytes);
    const int room = groups < most ? groups : most, shared = heads * room * group_bytes;
    allow_shared(kernel, shared, "flare_decode");
    const index_t others = index_t{p.n.B} * ceil_div(p.n.H, heads);
    const unsigned blocks = resident_blocks(kernel, warps * 32, shared, others,
                                            ceil_div(ceil_div(p.n.N, 16), warps / heads));
    kernel<<<dim3(blocks, unsigned(others)), warps * 32, shared, stream()>>>(p, heads, room);
    check_launch("flare_decode");
  });
}

}  // namespace flr::cuda::flare
