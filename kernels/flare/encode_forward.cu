// z[m] = Σₙ P[m,n] v[n], P = softmax over n of scale · q[m]·k[n]: the first hop, M latents, N
// tokens.
//
// Bound by one exponential a score. A warp keeps some latents of one head with their running
// maximum, sum and weighted values in registers and walks over every `splits`-th tile of tokens;
// what it ends with is a part, and encode_merge adds the parts in order. Scores are taken as
// latents × tokens: two neighbouring tiles are then A of P v as they stand. The maximum is raised
// only when a score passes it by 2⁸: weights up to 256 are as exact as weights up to 1, and raising
// is almost never needed.
#include <cstdlib>
#include <cstring>

#include "flare/fragments.cuh"
#include "common/resident_blocks.hpp"

namespace flr::cuda::flare {
namespace {

template <int D>
struct Tiling {
  static constexpr int groups = D <= 16 ? 4 : D <= 64 ? 2 : 1;  ///< of 16 latents, a warp
  static constexpr int halves = D <= 16 ? 2 : 1;  ///< of 16 tokens, a step
  static constexpr int warps = D <= 8 ? 8 : 4;    ///< of a block: neighbouring heads fill a line
};

/// The running softmax of 16 latents.
template <int D>
struct State {
  Rows<D> q;
  Sums<D> z = {};
  float l[4] = {};
  float m0 = -INFINITY, m1 = -INFINITY;  ///< what is subtracted, in base 2

  __device__ void raise(float x0, float x1) {
    x0 = fmaxf(m0, quad_max(x0)), x1 = fmaxf(m1, quad_max(x1));
    const float f0 = exp2_fast(m0 - x0), f1 = exp2_fast(m1 - x1);
    m0 = x0, m1 = x1;
#pragma unroll
    for (int j = 0; j < regs<D>; ++j) z[j][0] *= f0, z[j][1] *= f0, z[j][2] *= f1, z[j][3] *= f1;
    l[0] *= f0, l[1] *= f0, l[2] *= f1, l[3] *= f1;
  }

  /// Scores of 16·H tokens, of which `valid` count; whether the maximum has to be raised. `Whole`:
  /// all count.
  template <bool Whole, int H>
  __device__ bool score(float (&s)[2 * H][4], const Rows<D> (&k)[H], float scale, int valid,
                        float& x0, float& x1) const {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < H; ++i) {
      scores<D>(s[2 * i], q, k[i].lo, 0, 0, 0, 0);
      scores<D>(s[2 * i + 1], q, k[i].hi, 0, 0, 0, 0);
    }
    if constexpr (!Whole) {
#pragma unroll
      for (int i = 0; i < 2 * H; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (8 * i + 2 * t + e % 2 >= valid) s[i][e] = -INFINITY;
    }
    x0 = -INFINITY, x1 = -INFINITY;
#pragma unroll
    for (int i = 0; i < 2 * H; ++i) {
      x0 = fmaxf(x0, fmaxf(s[i][0], s[i][1]));
      x1 = fmaxf(x1, fmaxf(s[i][2], s[i][3]));
    }
    x0 *= scale, x1 *= scale;
    return x0 > m0 + 8 || x1 > m1 + 8;
  }

  /// Weighs the values of the tokens with these scores.
  template <int H>
  __device__ void add(float (&s)[2 * H][4], const Rows<D> (&v)[H], float scale) {
    constexpr u32 ones = 0x3f803f80u;
#pragma unroll
    for (int i = 0; i < 2 * H; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[i][e] = exp2_fast(fmaf(s[i][e], scale, e < 2 ? -m0 : -m1));
#pragma unroll
    for (int i = 0; i < H; ++i) {
      const Weights w = weights(s[2 * i], s[2 * i + 1]);
      accumulate<D>(z, w, v[i]);
      mma_k16(l, w.a, ones, ones);
    }
  }

  /// Row g (half 0) or g + 8 of the part.
  __device__ void write(int half, float* o, float* ml) const {
    const int t = threadIdx.x % 4;
    if (holds<D>(t))
#pragma unroll
      for (int j = 0; j < regs<D>; ++j)
        *reinterpret_cast<float2*>(o + channel<D>(j, t)) = {z[j][2 * half], z[j][2 * half + 1]};
    if (t == 0) *reinterpret_cast<float2*>(ml) = {half ? m1 : m0, l[2 * half]};
  }
};

/// A unit is a head and every `latent_blocks`-th group of 16 latents; a block takes `units` of
/// them, and has several splits where there are fewer units than warps.
template <int D>
__global__ void __launch_bounds__(Tiling<D>::warps * 32)
    encode_kernel(Encode p, int units, int latent_blocks, float* o, float* ml,
                  const int* only_if) {
  if (only_if && !*only_if) return;
  using Tile = Tiling<D>;
  constexpr int G = Tile::groups, tokens = 16 * Tile::halves;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
  const int unit_blocks = (p.n.H * latent_blocks + units - 1) / units;
  const int b = blockIdx.y / unit_blocks, unit = blockIdx.y % unit_blocks * units + warp % units;
  if (unit >= p.n.H * latent_blocks) return;
  const int h = unit % p.n.H, first_group = unit / p.n.H, groups = (p.n.M + 15) / 16;
  const int subsplits = Tile::warps / units, splits = int(gridDim.x) * subsplits;
  const int split = int(blockIdx.x) * subsplits + warp / units;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, stride = index_t{splits} * tokens;
  const bool full = first_group + (G - 1) * latent_blocks < groups;

  State<D> state[G];
#pragma unroll
  for (int i = 0; i < G; ++i)
    state[i].q = load_left<D>(p.q.head(b, h), p.q.s.row,
                              index_t{first_group + i * latent_blocks} * 16, p.n.M);
  const bf16 *k_head = p.k.head(b, h), *v_head = p.v.head(b, h);
  const auto step = [&]<bool Whole>(index_t n) {
    Rows<D> k[Tile::halves], v[Tile::halves];
#pragma unroll
    for (int i = 0; i < Tile::halves; ++i) {
      k[i] = load_rows<D>(k_head, p.k.s.row, n + 16 * i, N);
      v[i] = transposed(load_rows<D>(v_head, p.v.s.row, n + 16 * i, N));
    }
    const index_t next = n + stride, next_end = next + tokens < N ? next + tokens : N;
    prefetch_row(k_head, p.k.s.row, next, next_end);
    prefetch_row(v_head, p.v.s.row, next, next_end);
    const auto add = [&](State<D>& group) {
      float scores[2 * Tile::halves][4], x0, x1;
      if (__any_sync(0xffffffffu, group.template score<Whole>(scores, k, scale, int(N - n), x0, x1)))
        group.raise(x0, x1);
      group.add(scores, v, scale);
    };
    if (full) {  // without a branch between them the groups' products and exponentials overlap
#pragma unroll
      for (int i = 0; i < G; ++i) add(state[i]);
    } else {
#pragma unroll
      for (int i = 0; i < G - 1; ++i)
        if (first_group + i * latent_blocks < groups) add(state[i]);
    }
  };
  index_t n = index_t{split} * tokens;
  for (; n + tokens <= N; n += stride) step.template operator()<true>(n);
  if (n < N) step.template operator()<false>(n);
  const index_t part = ((index_t{b} * p.n.H + h) * splits + split) * p.n.M;
#pragma unroll
  for (int i = 0; i < G; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = (first_group + i * latent_blocks) * 16 + g + 8 * half;
      if (m < p.n.M) state[i].write(half, o + (part + m) * D, ml + (part + m) * 2);
    }
}

/// FLR_ENCODE=sampled: the other way whatever the number of scores, so that tests reach it with few.
bool sampling_asked() {
  const char* text = std::getenv("FLR_ENCODE");
  return text && std::strcmp(text, "sampled") == 0;
}

}  // namespace

void encode(const Encode& p) {
  // The other way pays where a pass over the scores takes longer than the two launches that follow
  // it in vain.
  const double scores = double(p.n.B) * p.n.H * p.n.M * double(p.n.N);
  const bool sampled =
      (scores >= 0x1p27 || sampling_asked()) && p.n.N >= 1024 && p.n.D <= 64;
  Scratch<int> overflow(1);
  if (sampled) encode_sampled(p, overflow);
  const int* const only_if = sampled ? overflow.data() : nullptr;
  with_width(p.n.D, [&]<int D>() {
    using Tile = Tiling<D>;
    const int latent_blocks = int(ceil_div(ceil_div(p.n.M, 16), Tile::groups));
    const index_t all_units = index_t{p.n.H} * latent_blocks;
    int units = Tile::warps;
    while (units > all_units) units /= 2;
    const int subsplits = Tile::warps / units;
    const index_t others = p.n.B * ceil_div(all_units, units);
    // A part should be of a few tiles at least: it is written, and read by the merge.
    const index_t most = ceil_div(p.n.N, index_t{16} * Tile::halves * 4 * subsplits);
    const unsigned blocks = resident_blocks(encode_kernel<D>, Tile::warps * 32, 0, others, most);
    const int splits = int(blocks) * subsplits;
    const index_t rows = index_t{p.n.B} * p.n.H * splits * p.n.M;
    const Scratch<float> o(rows * D), ml(rows * 2);
    encode_kernel<D><<<dim3(blocks, unsigned(others)), Tile::warps * 32, 0, stream()>>>(
        p, units, latent_blocks, o, ml, only_if);
    check_launch("flare_encode");
    encode_merge(p, o, ml, splits, {.only_if = only_if});
  });
}

}  // namespace flr::cuda::flare
