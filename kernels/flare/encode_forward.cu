// z[m] = Σₙ P[m,n] v[n], P = softmax over n of scale · q[m]·k[n]: the first hop, M latents, N
// tokens.
//
// Bound by one exponential a score. A warp keeps some latents of one head with their running
// maximum, sum and weighted values in registers and walks over every `splits`-th tile of tokens;
// what it ends with is a part, and encode_merge adds the parts in order. Scores are taken as
// latents × tokens: two neighbouring tiles are then A of P v as they stand. The maximum is raised
// only when a score passes it by 2⁸: weights up to 256 are as exact as weights up to 1, and raising
// is almost never needed. Or it is that of some tokens and stays (encode_sampled.cu says why it may):
// then nothing looks at scores but their exponentials.
#include <cstdlib>
#include <string_view>

#include "flare/fragments.cuh"
#include "flare/launch.hpp"

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

  /// Takes the maximum over `samples` tokens spread over all N.
  __device__ void sample(const bf16* k_head, index_t stride, index_t N, float scale) {
    for (int first = 0; first < samples; first += 16) {
      const Rows<D> k[1] = {load_rows<D>(k_head, stride * (N / samples), first, samples)};
      float s[2][4], x0, x1;
      score<true, true>(s, k, scale, 16, x0, x1);
      m0 = fmaxf(m0, quad_max(x0)), m1 = fmaxf(m1, quad_max(x1));
    }
  }

  __device__ void raise(float x0, float x1) {
    x0 = fmaxf(m0, quad_max(x0)), x1 = fmaxf(m1, quad_max(x1));
    const float f0 = exp2_fast(m0 - x0), f1 = exp2_fast(m1 - x1);
    m0 = x0, m1 = x1;
#pragma unroll
    for (int j = 0; j < regs<D>; ++j) z[j][0] *= f0, z[j][1] *= f0, z[j][2] *= f1, z[j][3] *= f1;
    l[0] *= f0, l[1] *= f0, l[2] *= f1, l[3] *= f1;
  }

  /// Scores of 16·H tokens, of which `valid` count; whether the maximum has to be raised. `Whole`:
  /// all count. Without `Looks` it never has.
  template <bool Whole, bool Looks, int H>
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
    if constexpr (!Looks) return false;
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

/// A warp's walk down the tokens of a head, by pointers: nothing is multiplied in the loop.
template <int D>
struct TokenRows {
  const bf16 *row, *ahead;  ///< token g of this step, and token `lane` of the next one
  int stride;
  index_t turn;

  __device__ TokenRows(const bf16* head, index_t stride, index_t first, index_t tokens)
      : row(head + (first + threadIdx.x % 32 / 4) * stride),
        ahead(head + (first + tokens + threadIdx.x % 32) * stride), stride(int(stride)), turn(tokens * stride) {}

  /// Tokens first … first + 15 of this step.
  __device__ Rows<D> load(int first) const {
    const int t = threadIdx.x % 4;
    Rows<D> r = {};
    load_row<D>(r.lo, row + first * stride, t);
    load_row<D>(r.hi, row + (first + 8) * stride, t);
    return r;
  }
  /// To the next step; brings the one after it into the second-level cache, where there is one.
  __device__ void advance(bool more) {
    if (more) prefetch(ahead);
    row += turn, ahead += turn;
  }
};

/// A unit is a head and every `latent_blocks`-th group of 16 latents; a block takes `units` of
/// them, and has several splits where there are fewer units than warps. `Sampled`: the maximum stays,
/// and `overflow` begins as 0; otherwise the kernel runs only if that is none, or not 0.
template <int D, bool Sampled>
__global__ void __launch_bounds__(Tiling<D>::warps * 32)
    encode_kernel(Encode p, int units, int latent_blocks, float* o, float* ml, int* overflow) {
  if constexpr (Sampled) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *overflow = 0;
  } else {
    if (overflow && !*overflow) return;
  }
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
  if constexpr (Sampled) {
#pragma unroll
    for (int i = 0; i < G; ++i) state[i].sample(k_head, p.k.s.row, N, scale);
  }
  using Loaded = Rows<D>[Tile::halves];
  const auto add_tokens = [&]<bool Whole>(const Loaded& k, const Loaded& v, int valid) {
    const auto add = [&](State<D>& group) {
      float scores[2 * Tile::halves][4], x0, x1;
      const bool passed = group.template score<Whole, !Sampled>(scores, k, scale, valid, x0, x1);
      if constexpr (!Sampled)
        if (__any_sync(0xffffffffu, passed)) group.raise(x0, x1);
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
  TokenRows<D> keys(k_head, p.k.s.row, n, stride), values(v_head, p.v.s.row, n, stride);
  for (; n + tokens <= N; n += stride) {
    Loaded k, v;
#pragma unroll
    for (int i = 0; i < Tile::halves; ++i) {
      k[i] = keys.load(16 * i);
      v[i] = transposed(values.load(16 * i));
    }
    const bool more = n + stride + tokens <= N && int(threadIdx.x) % 32 < tokens;
    keys.advance(more), values.advance(more);
    add_tokens.template operator()<true>(k, v, tokens);
  }
  if (n < N) {
    Loaded k, v;
#pragma unroll
    for (int i = 0; i < Tile::halves; ++i) {
      k[i] = load_rows<D>(k_head, p.k.s.row, n + 16 * i, N);
      v[i] = transposed(load_rows<D>(v_head, p.v.s.row, n + 16 * i, N));
    }
    add_tokens.template operator()<false>(k, v, int(N - n));
  }
  const index_t part = ((index_t{b} * p.n.H + h) * splits + split) * p.n.M;
#pragma unroll
  for (int i = 0; i < G; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = (first_group + i * latent_blocks) * 16 + g + 8 * half;
      if (m < p.n.M) state[i].write(half, o + (part + m) * D, ml + (part + m) * 2);
    }
}

/// All tokens by encode_kernel, and the merge.
template <bool Sampled>
void encode_held(const Encode& p, int* overflow) {
  with_width<Sampled ? 64 : 128>(p.n.D, [&]<int D>() {
    using Tile = Tiling<D>;
    const int latent_blocks = int(ceil_div(ceil_div(p.n.M, 16), Tile::groups));
    const index_t all_units = index_t{p.n.H} * latent_blocks;
    int units = Tile::warps;
    while (units > all_units) units /= 2;
    const int subsplits = Tile::warps / units;
    const index_t others = p.n.B * ceil_div(all_units, units);
    // A part should be of a few tiles at least: it is written, and read by the merge.
    const index_t most = ceil_div(p.n.N, index_t{16} * Tile::halves * 4 * subsplits);
    const unsigned blocks = resident_blocks(encode_kernel<D, Sampled>, Tile::warps * 32, 0, others, most);
    const int splits = int(blocks) * subsplits;
    const index_t rows = index_t{p.n.B} * p.n.H * splits * p.n.M;
    const Scratch<float> o(rows * D), ml(rows * 2);
    encode_kernel<D, Sampled><<<dim3(blocks, unsigned(others)), Tile::warps * 32, 0, stream()>>>(
        p, units, latent_blocks, o, ml, overflow);
    check_launch("flare_encode");
    if constexpr (Sampled) encode_merge(p, o, ml, splits, {.raise = overflow});
    else encode_merge(p, o, ml, splits, {.only_if = overflow});
  });
}

/// FLR_ENCODE=held|ring|follow: one of the ways whatever the sizes, for tests and measurements.
std::string_view asked_way() {
  const char* text = std::getenv("FLR_ENCODE");
  return text ? text : "";
}

}  // namespace

void encode(const Encode& p) {
  // Ways that sample pay where a pass over the scores takes longer than the two launches that follow
  // in vain.
  const double scores = double(p.n.B) * p.n.H * p.n.M * double(p.n.N);
  const std::string_view way = asked_way();
  const bool samples_fit = p.n.N >= 1024 && p.n.D <= 64;
  if (!samples_fit || way == "follow" || (way.empty() && scores < 0x1p27)) return encode_held<false>(p, nullptr);
  Scratch<int> overflow(1);
  if (way == "held") encode_held<true>(p, overflow.data());
  else encode_sampled(p, overflow);
  encode_held<false>(p, overflow.data());
}

}  // namespace flr::cuda::flare
