// Tokens and matrices as operands of tensor cores (mma.cuh has the layouts; g = lane / 4, t = lane % 4).
#pragma once

#include "common/device.cuh"
#include "common/mma.cuh"
#include "performer/problem.hpp"

namespace flr::cuda::performer {

using u32 = std::uint32_t;

inline constexpr float log2_e = 1.4426950408889634f;
/// Two registers of a right operand.
using Pair = Pack<u32, 2>;
/// A right operand in two pieces.
using TwoPairs = Pack<u32, 4>;

/// Blocks of 8 channels, and of 16 of a product over channels; with 8 channels the upper half of a
/// product is zero.
template <int D>
inline constexpr int eights = D / 8;
template <int D>
inline constexpr int sixteens = (D + 15) / 16;

__device__ inline u32 two_bf16(const bf16* at) { return *reinterpret_cast<const u32*>(at); }

/// Two floats as a register, and what it lost as another.
__device__ inline void in_two_pieces(float low, float high, u32& head, u32& rest) {
  head = pack_bf16(low, high);
  rest = pack_bf16(low - low_bf16(head), high - high_bf16(head));
}

__device__ inline float sum_of_quad(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/// Sixteen tokens as a left operand: lane 4g + t has tokens g and g + 8, of each block of 8 channels
/// 2t and 2t + 1.
template <int D>
struct Left {
  u32 a[sixteens<D>][4] = {};

  /// Tokens from `first` on, those from `end` on as zeros.
  __device__ void load(const bf16* x, index_t row, index_t first, index_t end) {
    const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int j = 0; j < eights<D>; ++j) {
        const index_t n = first + g + 8 * r;
        at(j, r) = n < end ? two_bf16(x + n * row + 8 * j + 2 * t) : 0;
      }
  }
  /// Block j of token g + 8r.
  __device__ u32& at(int j, int r) { return a[j / 2][j % 2 * 2 + r]; }
  __device__ u32 at(int j, int r) const { return a[j / 2][j % 2 * 2 + r]; }
};

/// e = c + x ω'ᵀ of 16 tokens and 8 features; the smaller piece first.
template <int D>
__device__ void add_exponents(float (&e)[4], const Left<D>& x, const TwoPairs* rows) {
#pragma unroll
  for (int s = 0; s < sixteens<D>; ++s) {
    const TwoPairs b = rows[s * 32 + threadIdx.x % 32];
    mma_k16(e, x.a[s], b.v[2], b.v[3]);
    mma_k16(e, x.a[s], b.v[0], b.v[1]);
  }
}

/// What a block of the kernels over tokens keeps of a head in shared memory. A right operand is
/// [step][block of 8 columns][lane].
template <int D>
struct Shared {
  static constexpr int steps = sixteens<D>, blocks = eights<D>;
  TwoPairs* rows;  ///< ω'ᵀ: [R/8][steps], columns are features
  Pair* state;     ///< S, and z in two pieces in one block more: [R/16][blocks + 1]
  Pair* across;    ///< Sᵀ: [R/8][steps], columns are features
  Pair* back;      ///< factor · ω: [R/16][blocks]
  float* z;        ///< [R]

  static constexpr int bytes(int R, bool backward) {
    const int forward = R / 8 * steps * 512 + R / 16 * (blocks + 1) * 256;
    return forward + (backward ? R / 8 * steps * 256 + R / 16 * blocks * 256 + R * 4 : 0);
  }
  /// Fills all of it; a barrier has to follow.
  __device__ Shared(void* memory, const Problem& p, const float* omega, const float* s, bool backward) {
    rows = static_cast<TwoPairs*>(memory);
    state = reinterpret_cast<Pair*>(rows + p.R / 8 * steps * 32);
    across = state + p.R / 16 * (blocks + 1) * 32;
    back = across + p.R / 8 * steps * 32;
    z = reinterpret_cast<float*>(back + p.R / 16 * blocks * 32);
    const auto value = [&](int r, int d) { return s[index_t{r} * (D + 1) + d]; };
    const auto row = [&](int r, int d) { return d < D ? omega[r * D + d] * p.factor : 0.0f; };
    for (int i = int(threadIdx.x); i < p.R / 8 * steps * 32; i += threads) {
      const int lane = i % 32, d = i / 32 % steps * 16 + lane % 4 * 2, r = i / 32 / steps * 8 + lane / 4;
      TwoPairs x;
      in_two_pieces(row(r, d) * log2_e, row(r, d + 1) * log2_e, x.v[0], x.v[2]);
      in_two_pieces(row(r, d + 8) * log2_e, row(r, d + 9) * log2_e, x.v[1], x.v[3]);
      rows[i] = x;
      if (!backward) continue;
      const bool upper = d + 8 < D;
      across[i] = {{pack_bf16(value(r, d), value(r, d + 1)),
                    upper ? pack_bf16(value(r, d + 8), value(r, d + 9)) : 0}};
    }
    for (int i = int(threadIdx.x); i < p.R / 16 * (blocks + 1) * 32; i += threads) {
      const int lane = i % 32, block = i / 32 % (blocks + 1), r = i / 32 / (blocks + 1) * 16 + lane % 4 * 2;
      const int column = lane / 4;
      Pair x = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = r + 8 * half;
        if (block < blocks) {
          x.v[half] = pack_bf16(value(at, 8 * block + column), value(at + 1, 8 * block + column));
        } else if (column < 2) {
          u32 head, rest;
          in_two_pieces(value(at, D), value(at + 1, D), head, rest);
          x.v[half] = column == 0 ? head : rest;
        }
      }
      state[i] = x;
    }
    if (!backward) return;
    for (int i = int(threadIdx.x); i < p.R / 16 * blocks * 32; i += threads) {
      const int lane = i % 32, d = i / 32 % blocks * 8 + lane / 4, r = i / 32 / blocks * 16 + lane % 4 * 2;
      back[i] = {{pack_bf16(row(r, d), row(r + 1, d)), pack_bf16(row(r + 8, d), row(r + 9, d))}};
    }
    for (int r = int(threadIdx.x); r < p.R; r += threads) z[r] = value(r, D);
  }
};

/// d (+)= a · matrix for one step of 16 rows of a right operand.
template <int Blocks>
__device__ void add_product(float (&d)[Blocks][4], const u32 (&a)[4], const Pair* step) {
#pragma unroll
  for (int j = 0; j < Blocks; ++j) {
    const Pair b = step[j * 32 + threadIdx.x % 32];
    mma_k16(d[j], a, b.v[0], b.v[1]);
  }
}

/// Two blocks of 8 columns of a result as a left operand.
__device__ inline void as_left(const float (&first)[4], const float (&second)[4], u32 (&a)[4]) {
  a[0] = pack_bf16(first[0], first[1]), a[1] = pack_bf16(first[2], first[3]);
  a[2] = pack_bf16(second[0], second[1]), a[3] = pack_bf16(second[2], second[3]);
}

/// Writes or adds a result's 16 tokens.
template <int D>
__device__ void put_tokens(const float (&x)[eights<D>][4], bf16* to, index_t row, index_t first,
                           index_t end, bool accumulate) {
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const index_t n = first + g + 8 * r;
    if (n >= end) continue;
#pragma unroll
    for (int j = 0; j < eights<D>; ++j) {
      u32* place = reinterpret_cast<u32*>(to + n * row + 8 * j + 2 * t);
      float low = x[j][2 * r], high = x[j][2 * r + 1];
      if (accumulate) low += low_bf16(*place), high += high_bf16(*place);
      *place = pack_bf16(low, high);
    }
  }
}

/// A block's head, and its warp among those that share the head's tiles of tokens.
struct Place {
  index_t item;
  int b, h;
  index_t warp, count;

  __device__ Place(const Problem& p, int splits) {
    item = blockIdx.x / splits;
    b = int(item / p.H), h = int(item % p.H);
    warp = index_t{blockIdx.x % splits} * warps + threadIdx.x / 32;
    count = index_t{splits} * warps;
  }
};

/// Calls f.template operator()<D>().
template <class F>
void with_width(int D, F f) {
  if (D == 8) f.template operator()<8>();
  else if (D == 16) f.template operator()<16>();
  else if (D == 32) f.template operator()<32>();
  else f.template operator()<64>();
}

/// Blocks that share a head: enough to fill the chip some times over, each with work for its warps.
inline int splits_of(const Problem& p, index_t tokens) {
  const index_t wanted = ceil_div(index_t{4} * multiprocessors(), p.heads());
  const index_t most = ceil_div(ceil_div(tokens, tile), warps);
  return int(wanted < most ? wanted : most);
}

}  // namespace flr::cuda::performer
