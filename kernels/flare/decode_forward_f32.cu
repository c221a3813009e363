// decode_forward.cu for floats: y[n] = Σₘ P[n,m] z[m], P = softmax over m of scale · k[n]·q[m].
//
// The same walk: a warp takes 16 tokens of one head and passes over the latents, which lie in
// shared memory as fragments of floats and are split as they are used, 64 at a time with a running
// maximum.
#include "flare/fragments_f32.cuh"
#include "common/resident_blocks.hpp"

namespace flr::cuda::flare {
namespace {

constexpr int warps = 8;

/// A group of 16 latents in shared memory: q, then z transposed.
template <int D>
inline constexpr int group_quads = 2 * rows_quads<D>;

/// A running softmax over the columns, for rows g and g + 8 of a fragment.
template <int Terms, int D>
struct Softmax {
  Sums<D> y = {};
  float l0 = 0, l1 = 0;                  ///< the lane's share
  float m0 = -INFINITY, m1 = -INFINITY;  ///< maxima so far, times scale · log₂e

  /// 16 G latents, of which `valid` count.
  template <int G>
  __device__ void add(const RowsF32<D>& k, const float4* latents, float scale, int valid) {
    const int t = threadIdx.x % 4;
    float s[2 * G][4], x0 = -INFINITY, x1 = -INFINITY;
#pragma unroll
    for (int i = 0; i < G; ++i) {
      const RowsF32<D> q = load_shared<D>(latents + i * group_quads<D>);
#pragma unroll
      for (int a = 0; a < 2; ++a) {
        float(&tile)[4] = s[2 * i + a];
        const int column = 16 * i + 8 * a + 2 * t;
        const float pad0 = column < valid ? 0.f : -INFINITY;
        const float pad1 = column + 1 < valid ? 0.f : -INFINITY;
        scores<Terms, D>(tile, k, q.half[a], pad0, pad1, pad0, pad1);
        x0 = fmaxf(x0, fmaxf(tile[0], tile[1])), x1 = fmaxf(x1, fmaxf(tile[2], tile[3]));
      }
    }
    x0 = fmaxf(m0, quad_max(x0) * scale), x1 = fmaxf(m1, quad_max(x1) * scale);
    const float f0 = exp2_fast(m0 - x0), f1 = exp2_fast(m1 - x1);
    m0 = x0, m1 = x1, l0 *= f0, l1 *= f1;
#pragma unroll
    for (int j = 0; j < regs<D>; ++j) y[j][0] *= f0, y[j][1] *= f0, y[j][2] *= f1, y[j][3] *= f1;
#pragma unroll
    for (int i = 0; i < G; ++i) {
      Operand<Terms, 4> w[2];
#pragma unroll
      for (int a = 0; a < 2; ++a) {
        float(&tile)[4] = s[2 * i + a];
#pragma unroll
        for (int e = 0; e < 4; ++e)
          tile[e] = rounded<Terms>(exp2_fast(fmaf(tile[e], scale, e < 2 ? -m0 : -m1)));
        l0 += tile[0] + tile[1], l1 += tile[2] + tile[3];
        w[a] = weights<Terms>(tile);
      }
      const RowsF32<D> z = load_shared<D>(latents + i * group_quads<D> + rows_quads<D>);
      accumulate<Terms, D>(y, w, z.half);
    }
  }
};

/// Latents [from, from + count) · 16 of `heads` heads.
template <int Terms, int D>
__device__ void load_latents(float4* to, const DecodeOf<float>& p, int b, int h0, int heads,
                             int from, int count, int room) {
  for (int item = threadIdx.x / 32; item < heads * count; item += warps) {
    const int h = h0 + item / count, i = item % count;
    if (h >= p.n.H) continue;
    float4* at = to + (item / count * room + i) * group_quads<D>;
    const index_t row = index_t{from + i} * 16;
    const auto q = load_rows<D>(p.q.head(b, h), p.q.s.row, row, p.n.M);
    const auto z = load_rows<D>(p.z.head(b, h), p.z.s.row, row, p.n.M);
    save_shared<D>(at, rounded<Terms, D>(q));
    save_shared<D>(at + rows_quads<D>, transposed(rounded<Terms, D>(z)));
  }
}

/// `heads` heads a block, a power of two; `room` groups of 16 latents at a time.
template <int Terms, int D>
__global__ void __launch_bounds__(warps * 32, D <= 32 ? 2 : 1)
    decode_kernel(DecodeOf<float> p, int heads, int room) {
  extern __shared__ float4 latents[];
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
    RowsF32<D> k = {};
    if (busy) {
      k = rounded<Terms, D>(load_rows<D>(p.k.head(b, h), p.k.s.row, first, N));
      const index_t next = first + stride * 16;
      prefetch_row(p.k.head(b, h), p.k.s.row, next, next + 16 < N ? next + 16 : N);
    }
    Softmax<Terms, D> state;
    for (int from = 0; from < groups; from += room) {
      const int count = groups - from < room ? groups - from : room;
      if (step == begin || room < groups) {
        __syncthreads();
        load_latents<Terms, D>(latents, p, b, h0, heads, from, count, room);
        __syncthreads();
      }
      if (!busy) continue;
      const float4* at = latents + warp % heads * room * group_quads<D>;
      const int valid = p.n.M - from * 16;
      int i = 0;
      for (; i + 4 <= count; i += 4)
        state.template add<4>(k, at + i * group_quads<D>, scale, valid - 16 * i);
      for (; i < count; ++i)
        state.template add<1>(k, at + i * group_quads<D>, scale, valid - 16 * i);
    }
    if (!busy) continue;
    const float l[2] = {quad_sum(state.l0), quad_sum(state.l1)};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const index_t n = first + g + 8 * half;
      if (n >= N) continue;
      float y[2 * regs<D>];
      row_of<D>(y, state.y, half, 1.f / l[half]);
      store_row<D>(p.y.head(b, h) + n * p.y.s.row, y, t, false);
      if (p.lse && t == 0)
        p.lse[(index_t{b} * p.n.H + h) * N + n] =
            ((half ? state.m1 : state.m0) + log2f(l[half])) * ln_2;
    }
  }
}

}  // namespace

void decode(const DecodeOf<float>& p) {
  with_width_and_terms(p.n.D, [&]<int D, int Terms>() {
    const auto kernel = decode_kernel<Terms, D>;
    const int groups = (p.n.M + 15) / 16, group_bytes = group_quads<D> * int(sizeof(float4));
    const int budget = max_shared_bytes() / 2 - 1024;  // two blocks on a multiprocessor
    int heads = warps;
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
