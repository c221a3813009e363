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

#include "flare/held_latents.cuh"

namespace flr::cuda::flare {
namespace {

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
    write_row<D>(o, z, half);
    if (threadIdx.x % 4 == 0) *reinterpret_cast<float2*>(ml) = {half ? m1 : m0, l[2 * half]};
  }
};

/// `Sampled`: the maximum stays, and `overflow` begins as 0; otherwise the kernel runs only if that is
/// none, or not 0.
template <int D, bool Sampled>
__global__ void __launch_bounds__(Held<D>::warps * 32)
    encode_kernel(Encode p, int units, int latent_blocks, float* o, float* ml, int* overflow) {
  if constexpr (Sampled) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *overflow = 0;
  } else {
    if (overflow && !*overflow) return;
  }
  constexpr int G = Held<D>::groups, halves = Held<D>::halves, tokens = Held<D>::tokens;
  const HeldUnit<D> unit(p.n, units, latent_blocks);
  if (!unit.there) return;
  const int b = unit.b, h = unit.h, lane = threadIdx.x % 32;
  const float scale = p.n.scale * log2_e;
  const index_t N = p.n.N, stride = index_t{unit.splits} * tokens;

  State<D> state[G];
#pragma unroll
  for (int i = 0; i < G; ++i)
    state[i].q = load_left<D>(p.q.head(b, h), p.q.s.row, unit.latent(i), p.n.M);
  const bf16 *k_head = p.k.head(b, h), *v_head = p.v.head(b, h);
  if constexpr (Sampled) {
#pragma unroll
    for (int i = 0; i < G; ++i) state[i].sample(k_head, p.k.s.row, N, scale);
  }
  using Loaded = Rows<D>[halves];
  const auto add_tokens = [&]<bool Whole>(const Loaded& k, const Loaded& v, int valid) {
    unit.each_group([&](int i) {
      float scores[2 * halves][4], x0, x1;
      const bool passed = state[i].template score<Whole, !Sampled>(scores, k, scale, valid, x0, x1);
      if constexpr (!Sampled)
        if (__any_sync(0xffffffffu, passed)) state[i].raise(x0, x1);
      state[i].add(scores, v, scale);
    });
  };
  index_t n = index_t{unit.split} * tokens;
  TokenRows<D> keys(k_head, p.k.s.row, n, stride), values(v_head, p.v.s.row, n, stride);
  for (; n + tokens <= N; n += stride) {
    Loaded k, v;
#pragma unroll
    for (int i = 0; i < halves; ++i) k[i] = keys.load(16 * i), v[i] = transposed(values.load(16 * i));
    const bool more = n + stride + tokens <= N && lane < tokens;
    keys.advance(more), values.advance(more);
    add_tokens.template operator()<true>(k, v, tokens);
  }
  if (n < N) {
    Loaded k, v;
#pragma unroll
    for (int i = 0; i < halves; ++i) {
      k[i] = load_rows<D>(k_head, p.k.s.row, n + 16 * i, N);
      v[i] = transposed(load_rows<D>(v_head, p.v.s.row, n + 16 * i, N));
    }
    add_tokens.template operator()<false>(k, v, int(N - n));
  }
  const index_t part = unit.part(p.n);
#pragma unroll
  for (int i = 0; i < G; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = unit.latent(i) + lane / 4 + 8 * half;
      if (m < p.n.M) state[i].write(half, o + (part + m) * D, ml + (part + m) * 2);
    }
}

/// All tokens by encode_kernel, and the merge.
template <bool Sampled>
void encode_held(const Encode& p, int* overflow) {
  with_width<Sampled ? 64 : 128>(p.n.D, [&]<int D>() {
    const HeldPlan plan = HeldPlan::of<D>(encode_kernel<D, Sampled>, p.n);
    const index_t rows = index_t{p.n.B} * p.n.H * plan.splits * p.n.M;
    const Scratch<float> o(rows * D), ml(rows * 2);
    const dim3 grid(plan.blocks, plan.others);
    encode_kernel<D, Sampled><<<grid, Held<D>::warps * 32, 0, stream()>>>(
        p, plan.units, plan.latent_blocks, o, ml, overflow);
    check_launch("flare_encode");
    if constexpr (Sampled) encode_merge(p, o, ml, plan.splits, {.raise = overflow});
    else encode_merge(p, o, ml, plan.splits, {.only_if = overflow});
  });
}

}  // namespace

Way asked_way() {
  const char* text = std::getenv("FLR_ENCODE");
  const std::string_view word = text ? text : "";
  if (word.empty()) return Way::any;
  if (word == "held") return Way::held;
  if (word == "ring") return Way::ring;
  check(word == "follow", "[flare_encode] expected FLR_ENCODE=held, ring or follow; got {}", word);
  return Way::follow;
}

void encode(const Encode& p) {
  // Ways that sample pay where a pass over the scores takes longer than the two launches that follow
  // in vain.
  const double scores = double(p.n.B) * p.n.H * p.n.M * double(p.n.N);
  const Way way = asked_way();
  const bool samples_fit = p.n.N >= 1024 && p.n.D <= 64;
  if (!samples_fit || way == Way::follow || (way == Way::any && scores < 0x1p27))
    return encode_held<false>(p, nullptr);
  Scratch<int> overflow(1);
  if (way == Way::held) encode_held<true>(p, overflow.data());
  else encode_sampled(p, overflow);
  encode_held<false>(p, overflow.data());
}

}  // namespace flr::cuda::flare
