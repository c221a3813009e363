// Sixteen rows of a head in a warp's registers, and the products of such fragments.
//
// Everything here is a Rows<D>: lane 4g + t holds rows g and g + 8, of each the D/4 channels that
// it fetched with the widest loads that fit; register j holds channels channel(j, t) and the next
// one:
//
//   D = 8:  2t                       D = 32: 8t + 2j
//   D = 16: 4t + 2j                  D ≥ 64: 32 (j / 4) + 8t + 2 (j % 4)
//
// D = 2 and 4 are D = 8 with zeros in the lanes beyond.
//
// A product over channels does not care in which order they come, so the same registers serve as A
// (16 rows) and as B (8 rows) of the scores. Transposed 8×8 by 8×8 they are B of a product over
// rows, whose 16×D result is again laid out like Rows: c0 c1 of tile j are register j of row g, c2
// c3 of row g + 8. So tokens, latents, values, and all the gradients move between memory, products
// and memory without a shuffle.
#pragma once

#include "common/device.cuh"
#include "common/mma.cuh"
#include "flare/problem.hpp"

namespace flr::cuda::flare {

using u32 = std::uint32_t;
inline constexpr float log2_e = 1.44269504088896340736f, ln_2 = 0.693147180559945309417f;

/// Registers of a row: pairs of channels.
template <int D>
inline constexpr int regs = D < 8 ? 1 : D / 8;
/// Whether lane t of a row has channels that exist.
template <int D>
__device__ constexpr bool holds(int t) {
  return D >= 8 || 2 * t < D;
}

template <int D>
struct Rows {
  u32 lo[regs<D>], hi[regs<D>];  ///< rows 0 … 7 and 8 … 15
};
/// Sums of 16 rows, laid out alike.
template <int D>
using Sums = float[regs<D>][4];

/// Neighbouring registers in memory: a lane moves 4, 8 or 16 bytes.
template <int D>
inline constexpr int wide = regs<D> < 4 ? regs<D> : 4;

template <int D>
__device__ constexpr int channel(int j, int t) {
  return j / wide<D> * 8 * wide<D> + 2 * wide<D> * t + j % wide<D> * 2;
}

template <int D>
__device__ void load_row(u32 (&r)[regs<D>], const bf16* row, int t) {
  if (!holds<D>(t)) return;
#pragma unroll
  for (int j = 0; j < regs<D>; j += wide<D>) {
    const auto p = *reinterpret_cast<const Pack<u32, wide<D>>*>(row + channel<D>(j, t));
#pragma unroll
    for (int e = 0; e < wide<D>; ++e) r[j + e] = p.v[e];
  }
}

/// Rows first … first + 15 of x, zeros from `end` on.
template <int D>
__device__ Rows<D> load_rows(const bf16* x, index_t stride, index_t first, index_t end) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  Rows<D> r = {};
  if (first + g < end) load_row<D>(r.lo, x + (first + g) * stride, t);
  if (first + g + 8 < end) load_row<D>(r.hi, x + (first + g + 8) * stride, t);
  return r;
}

/// The same rows for a product that takes them as A, time and again. What one wide load brings lies
/// in neighbouring registers, and A wants registers of both rows in turn: they would be moved for
/// every product. Here each register has a load of its own.
template <int D>
__device__ void load_row_apart(u32 (&r)[regs<D>], const bf16* row, int t) {
  if (!holds<D>(t)) return;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j)
    r[j] = load_apart(row + channel<D>(j, t));
}
template <int D>
__device__ Rows<D> load_left(const bf16* x, index_t stride, index_t first, index_t end) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  Rows<D> r = {};
  if (first + g < end) load_row_apart<D>(r.lo, x + (first + g) * stride, t);
  if (first + g + 8 < end) load_row_apart<D>(r.hi, x + (first + g + 8) * stride, t);
  return r;
}

/// Brings row `first` + lane into the second-level cache: the walk's next step finds it there.
template <class T>
__device__ void prefetch_row(const T* x, index_t stride, index_t first, index_t end) {
  const index_t row = first + threadIdx.x % 32;
  if (row < end) prefetch(x + row * stride);
}

/// One row of a lane: D/4 floats in pairs c[2j], c[2j+1], rounded; `add`: on top of what is there.
template <int D>
__device__ void store_row(bf16* row, const float (&c)[2 * regs<D>], int t, bool add) {
  if (!holds<D>(t)) return;
  u32 old[regs<D>] = {};
  if (add) load_row<D>(old, row, t);
#pragma unroll
  for (int j = 0; j < regs<D>; j += wide<D>) {
    Pack<u32, wide<D>> p;
#pragma unroll
    for (int e = 0; e < wide<D>; ++e) {
      const float a = c[2 * (j + e)], b = c[2 * (j + e) + 1];
      p.v[e] =
          add ? pack_bf16(low_bf16(old[j + e]) + a, high_bf16(old[j + e]) + b) : pack_bf16(a, b);
    }
    *reinterpret_cast<Pack<u32, wide<D>>*>(row + channel<D>(j, t)) = p;
  }
}

/// Both halves transposed: B of a product that sums over these 16 rows.
template <int D>
__device__ Rows<D> transposed(const Rows<D>& r) {
  Rows<D> y;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j)
    y.lo[j] = transpose_8x8(r.lo[j]), y.hi[j] = transpose_8x8(r.hi[j]);
  return y;
}

/// Rows in shared memory, 8 bytes a lane and register.
template <int D>
inline constexpr int rows_words = regs<D> * 32;
template <int D>
__device__ void save_shared(uint2* at, const Rows<D>& r) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) at[j * 32 + threadIdx.x % 32] = {r.lo[j], r.hi[j]};
}
template <int D>
__device__ Rows<D> load_shared(const uint2* at) {
  Rows<D> r;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) {
    const uint2 x = at[j * 32 + threadIdx.x % 32];
    r.lo[j] = x.x, r.hi[j] = x.y;
  }
  return r;
}

/// Rows that are B of scores: the pairs of registers that a product takes lie together.
template <int D>
__device__ void save_right(uint2* at, const Rows<D>& r) {
  if constexpr (D < 16) {
    save_shared<D>(at, r);
  } else {
#pragma unroll
    for (int j = 0; j + 1 < regs<D>; j += 2) {
      at[j * 32 + threadIdx.x % 32] = {r.lo[j], r.lo[j + 1]};
      at[(j + 1) * 32 + threadIdx.x % 32] = {r.hi[j], r.hi[j + 1]};
    }
  }
}
template <int D>
__device__ Rows<D> load_right(const uint2* at) {
  if constexpr (D < 16) {
    return load_shared<D>(at);
  } else {
    Rows<D> r;
#pragma unroll
    for (int j = 0; j + 1 < regs<D>; j += 2) {
      const uint2 lo = at[j * 32 + threadIdx.x % 32], hi = at[(j + 1) * 32 + threadIdx.x % 32];
      r.lo[j] = lo.x, r.lo[j + 1] = lo.y, r.hi[j] = hi.x, r.hi[j + 1] = hi.y;
    }
    return r;
  }
}

/// d = a bᵀ + c for the 16 rows a and 8 rows b. c is an operand of its own, so that masks (−∞) and
/// what is subtracted anyway (delta) come for nothing.
template <int D>
__device__ void scores(float (&d)[4], const Rows<D>& a, const u32 (&b)[regs<D>], float c0, float c1,
                       float c2, float c3) {
  if constexpr (D <= 8) {
    mma_k8(d, {a.lo[0], a.hi[0]}, b[0], {c0, c1, c2, c3});
  } else {
    mma_k16(d, {a.lo[0], a.hi[0], a.lo[1], a.hi[1]}, b[0], b[1], {c0, c1, c2, c3});
#pragma unroll
    for (int j = 2; j < regs<D>; j += 2)
      mma_k16(d, {a.lo[j], a.hi[j], a.lo[j + 1], a.hi[j + 1]}, b[j], b[j + 1]);
  }
}

/// Two neighbouring 16×8 score tiles as A of a product that sums over their 16 columns.
struct Weights {
  u32 a[4];
};
__device__ inline Weights weights(const float (&left)[4], const float (&right)[4]) {
  return {{pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]), pack_bf16(right[0], right[1]),
           pack_bf16(right[2], right[3])}};
}
/// The same block as A of a product that sums over its 16 rows.
__device__ inline Weights transposed(const Weights& w) {
  return {
      {transpose_8x8(w.a[0]), transpose_8x8(w.a[2]), transpose_8x8(w.a[1]), transpose_8x8(w.a[3])}};
}

/// sums += w x, where x is given transposed().
template <int D>
__device__ void accumulate(Sums<D>& sums, const Weights& w, const Rows<D>& x) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) mma_k16(sums[j], w.a, x.lo[j], x.hi[j]);
}

/// Row g (half 0) or g + 8 (half 1) of sums, times a factor.
template <int D>
__device__ void row_of(float (&c)[2 * regs<D>], const Sums<D>& sums, int half, float factor) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) {
    c[2 * j] = sums[j][2 * half] * factor;
    c[2 * j + 1] = sums[j][2 * half + 1] * factor;
  }
}

/// The lane's share of the product of two rows.
template <int D>
__device__ float dot(const u32 (&a)[regs<D>], const u32 (&b)[regs<D>]) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) {
    sum = fmaf(low_bf16(a[j]), low_bf16(b[j]), sum);
    sum = fmaf(high_bf16(a[j]), high_bf16(b[j]), sum);
  }
  return sum;
}

/// The largest and the sum over the four lanes of a row.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

}  // namespace flr::cuda::flare
