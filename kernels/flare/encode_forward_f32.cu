// encode_forward.cu for floats: z[m] = Σₙ P[m,n] v[n], P = softmax over n of scale · q[m]·k[n].
//
// The same walk: a warp keeps some latents of one head with their running maximum, sum and weighted
// values in registers, and encode_merge adds the parts of the splits in order. Eight tokens are a
// whole operand here. What the next step needs is fetched before this one computes.
#include "flare/fragments_f32.cuh"
#include "common/resident_blocks.hpp"

namespace flr::cuda::flare {
namespace {

constexpr int warps = 4;

template <int D>
struct Tiling {
  static constexpr int groups = D <= 8 ? 4 : D <= 32 ? 2 : 1;  ///< of 16 latents, a warp
  static constexpr int eights = D <= 8 ? 4 : D <= 32 ? 2 : 1;  ///< of tokens, a step
  static constexpr int tokens = 8 * eights;
};

/// The running softmax of 16 latents.
template <int Terms, int D>
struct State {
  RowsF32<D> q;
  Sums<D> z = {};
  float l0 = 0, l1 = 0;                  ///< the lane's share
  float m0 = -INFINITY, m1 = -INFINITY;  ///< what is subtracted, in base 2

  __device__ void raise(float x0, float x1) {
    x0 = fmaxf(m0, quad_max(x0)), x1 = fmaxf(m1, quad_max(x1));
    const float f0 = exp2_fast(m0 - x0), f1 = exp2_fast(m1 - x1);
    m0 = x0, m1 = x1, l0 *= f0, l1 *= f1;
#pragma unroll
    for (int j = 0; j < regs<D>; ++j) z[j][0] *= f0, z[j][1] *= f0, z[j][2] *= f1, z[j][3] *= f1;
  }

  /// 8·S tokens, of which `valid` count; v transposed.
  template <int S>
  __device__ void add(const Half<D> (&k)[S], const Half<D> (&v)[S], float scale, int valid) {
    const int t = threadIdx.x % 4;
    float s[S][4], x0 = -INFINITY, x1 = -INFINITY;
#pragma unroll
    for (int i = 0; i < S; ++i) {
      const float pad0 = 8 * i + 2 * t < valid ? 0.f : -INFINITY;
      const float pad1 = 8 * i + 2 * t + 1 < valid ? 0.f : -INFINITY;
      scores<Terms, D>(s[i], q, k[i], pad0, pad1, pad0, pad1);
      x0 = fmaxf(x0, fmaxf(s[i][0], s[i][1])), x1 = fmaxf(x1, fmaxf(s[i][2], s[i][3]));
    }
    x0 *= scale, x1 *= scale;
    if (__any_sync(0xffffffffu, x0 > m0 + 8 || x1 > m1 + 8)) raise(x0, x1);
    Operand<Terms, 4> w[S];
#pragma unroll
    for (int i = 0; i < S; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        s[i][e] = rounded<Terms>(exp2_fast(fmaf(s[i][e], scale, e < 2 ? -m0 : -m1)));
      l0 += s[i][0] + s[i][1], l1 += s[i][2] + s[i][3];
      w[i] = weights<Terms>(s[i]);
    }
    accumulate<Terms, D>(z, w, v);
  }

  /// Row g (half 0) or g + 8 of the part; `l` is the row's whole sum.
  __device__ void write(int half, float l, float* o, float* ml) const {
    const int t = threadIdx.x % 4;
    float c[2 * regs<D>];
    row_of<D>(c, z, half, 1);
    store_row<D>(o, c, t, false);
    if (t == 0) *reinterpret_cast<float2*>(ml) = {half ? m1 : m0, l};
  }
};

/// A unit is a head and every `latent_blocks`-th group of 16 latents; a block takes `units` of
/// them, and has several splits where there are fewer units than warps.
template <int Terms, int D>
__global__ void __launch_bounds__(warps * 32)
    encode_kernel(EncodeOf<float> p, int units, int latent_blocks, float* o, float* ml) {
  using Tile = Tiling<D>;
  constexpr int G = Tile::groups, S = Tile::eights;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
  const int unit_blocks = (p.n.H * latent_blocks + units - 1) / units;
  const int b = blockIdx.y / unit_blocks, unit = blockIdx.y % unit_blocks * units + warp % units;
  if (unit >= p.n.H * latent_blocks) return;
  const int h = unit % p.n.H, first_group = unit / p.n.H, groups = (p.n.M + 15) / 16;
  const int subsplits = warps / units, splits = int(gridDim.x) * subsplits;
  const int split = int(blockIdx.x) * subsplits + warp / units;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, stride = index_t{splits} * Tile::tokens;

  State<Terms, D> state[G];
#pragma unroll
  for (int i = 0; i < G; ++i)
    state[i].q = rounded<Terms, D>(load_rows<D>(
        p.q.head(b, h), p.q.s.row, index_t{first_group + i * latent_blocks} * 16, p.n.M));
  const float *k_head = p.k.head(b, h), *v_head = p.v.head(b, h);
  Half<D> k_next[S], v_next[S];
  const auto fetch = [&](index_t n) {
#pragma unroll
    for (int i = 0; i < S; ++i) {
      load_half<D>(k_next[i], k_head, p.k.s.row, n + 8 * i, N);
      load_half<D>(v_next[i], v_head, p.v.s.row, n + 8 * i, N);
    }
  };
  fetch(index_t{split} * Tile::tokens);
  for (index_t n = index_t{split} * Tile::tokens; n < N; n += stride) {
    Half<D> k[S], v[S];
#pragma unroll
    for (int i = 0; i < S; ++i) {
#pragma unroll
      for (int j = 0; j < regs<D>; ++j) k[i][j] = k_next[i][j], v[i][j] = v_next[i][j];
      round_half<Terms, D>(k[i]), round_half<Terms, D>(v[i]);
      transpose_half<D>(v[i]);
    }
    fetch(n + stride);
    const int valid = N - n < Tile::tokens ? int(N - n) : Tile::tokens;
#pragma unroll
    for (int i = 0; i < G; ++i)
      if (first_group + i * latent_blocks < groups) state[i].add(k, v, scale, valid);
  }
  const index_t part = ((index_t{b} * p.n.H + h) * splits + split) * p.n.M;
#pragma unroll
  for (int i = 0; i < G; ++i) {
    const float l[2] = {quad_sum(state[i].l0), quad_sum(state[i].l1)};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = (first_group + i * latent_blocks) * 16 + g + 8 * half;
      if (m < p.n.M) state[i].write(half, l[half], o + (part + m) * D, ml + (part + m) * 2);
    }
  }
}

}  // namespace

void encode(const EncodeOf<float>& p) {
  with_width_and_terms(p.n.D, [&]<int D, int Terms>() {
    const auto kernel = encode_kernel<Terms, D>;
    const int latent_blocks = int(ceil_div(ceil_div(p.n.M, 16), Tiling<D>::groups));
    const index_t all_units = index_t{p.n.H} * latent_blocks;
    int units = warps;
    while (units > all_units) units /= 2;
    const int subsplits = warps / units;
    const index_t others = p.n.B * ceil_div(all_units, units);
    const index_t most = ceil_div(p.n.N, index_t{Tiling<D>::tokens} * subsplits);
    const unsigned blocks = resident_blocks(kernel, warps * 32, 0, others, most);
    const int splits = int(blocks) * subsplits;
    const index_t rows = index_t{p.n.B} * p.n.H * splits * p.n.M;
    const Scratch<float> o(rows * D), ml(rows * 2);
    kernel<<<dim3(blocks, unsigned(others)), warps * 32, 0, stream()>>>(p, units, latent_blocks, o,
                                                                        ml);
    check_launch("flare_encode");
    encode_merge(p, o, ml, splits);
  });
}

}  // namespace flr::cuda::flare
