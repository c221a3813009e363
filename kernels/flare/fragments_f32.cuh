// Fragments of floats: the layout of fragments.cuh with floats for halves, and their products.
//
// Why tensor cores for floats. In a clock a multiprocessor of an H100 takes 16 exponentials, 128
// products of floats, or 1024 of tf32 numbers. With one exponential, 1/16 clock, a score of D
// channels comes with 2 D products forward and 5 D backward: at D = 8 1/8 and 5/16 clock in floats.
// A float is the sum of two tf32 numbers, but for its last bit or two. Of the four products of such
// sums the smallest does not count; the other three (3xTF32) take 3/64 and 15/128 clock. To split
// rows costs little, as they meet many others, and a weight is split by two instructions. So three
// products should be about twice as fast as plain ones from D = 8 on; at D = 4 and 2, where half of
// them and more are zeros, they are about as fast, behind the exponentials. Under tf32 it is one
// product, of rounded operands.
//
// Tensor cores round their sums towards zero, and a sum over many thousand tokens would show it:
// sums over tokens and latents are formed by float additions, one for two fragments.
//
// A lane's pair of channels are columns t and t + 4 of a tf32 operand: channels may come in any
// order if both operands agree. So do neighbouring columns 2t, 2t + 1 of a result where it becomes
// the first operand of a product over its columns: in place, without a shuffle.
#pragma once

#include "flare/fragments.cuh"
#include "flr/core/precision.hpp"

namespace flr::cuda::flare {

/// Neighbouring pairs of floats in memory: a lane moves 8 or 16 bytes.
template <int D>
inline constexpr int wide_f32 = regs<D> < 2 ? 1 : 2;

/// Pair j of lane t: this channel and the next one.
template <int D>
__device__ constexpr int channel_f32(int j, int t) {
  return j / wide_f32<D> * 8 * wide_f32<D> + 2 * wide_f32<D> * t + j % wide_f32<D> * 2;
}

/// Eight rows, lane 4g + t with row g: pairs of its channels.
template <int D>
using Half = float2[regs<D>];
/// Sixteen rows.
template <int D>
struct RowsF32 {
  Half<D> half[2];  ///< rows 0 … 7 and 8 … 15
};

/// What a product takes of x: x itself where it will be split into `Terms` = 3 products' parts, the
/// nearest tf32 number where there is one.
template <int Terms>
__device__ float rounded(float x) {
  return Terms == 1 ? __uint_as_float(to_tf32(x)) : x;
}

template <int D>
__device__ void load_row(Half<D>& r, const float* row, int t) {
  if (!holds<D>(t)) return;
#pragma unroll
  for (int j = 0; j < regs<D>; j += wide_f32<D>) {
    const auto p = *reinterpret_cast<const Pack<float2, wide_f32<D>>*>(row + channel_f32<D>(j, t));
#pragma unroll
    for (int e = 0; e < wide_f32<D>; ++e) r[j + e] = p.v[e];
  }
}

/// Rows first … first + 7 of x as they are, zeros from `end` on.
template <int D>
__device__ void load_half(Half<D>& r, const float* x, index_t stride, index_t first, index_t end) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) r[j] = {0, 0};
  if (first + g < end) load_row<D>(r, x + (first + g) * stride, t);
}
template <int D>
__device__ RowsF32<D> load_rows(const float* x, index_t stride, index_t first, index_t end) {
  RowsF32<D> r;
  load_half<D>(r.half[0], x, stride, first, end);
  load_half<D>(r.half[1], x, stride, first + 8, end);
  return r;
}

template <int Terms, int D>
__device__ void round_half(Half<D>& r) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) r[j] = {rounded<Terms>(r[j].x), rounded<Terms>(r[j].y)};
}
/// Rows as operands of products.
template <int Terms, int D>
__device__ RowsF32<D> rounded(RowsF32<D> r) {
  round_half<Terms, D>(r.half[0]), round_half<Terms, D>(r.half[1]);
  return r;
}

/// One row of a lane: D/4 floats in pairs; `add`: on top of what is there.
template <int D>
__device__ void store_row(float* row, const float (&c)[2 * regs<D>], int t, bool add) {
  if (!holds<D>(t)) return;
  Half<D> old = {};
  if (add) load_row<D>(old, row, t);
#pragma unroll
  for (int j = 0; j < regs<D>; j += wide_f32<D>) {
    Pack<float2, wide_f32<D>> p;
#pragma unroll
    for (int e = 0; e < wide_f32<D>; ++e)
      p.v[e] = {old[j + e].x + c[2 * (j + e)], old[j + e].y + c[2 * (j + e) + 1]};
    *reinterpret_cast<Pack<float2, wide_f32<D>>*>(row + channel_f32<D>(j, t)) = p;
  }
}

/// Transposes an 8×8 matrix of floats held one row a quad, by its upper and its lower halves.
__device__ inline float2 transpose_floats(float2 x) {
  const u32 a = __float_as_uint(x.x), b = __float_as_uint(x.y);
  const u32 low = transpose_8x8(__byte_perm(a, b, 0x5410));
  const u32 high = transpose_8x8(__byte_perm(a, b, 0x7632));
  return {__uint_as_float(__byte_perm(low, high, 0x5410)),
          __uint_as_float(__byte_perm(low, high, 0x7632))};
}
/// B of a product that sums over these rows.
template <int D>
__device__ void transpose_half(Half<D>& r) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) r[j] = transpose_floats(r[j]);
}
template <int D>
__device__ RowsF32<D> transposed(RowsF32<D> r) {
  transpose_half<D>(r.half[0]), transpose_half<D>(r.half[1]);
  return r;
}

/// Rows in shared memory, 16 bytes a lane and pair.
template <int D>
inline constexpr int rows_quads = regs<D> * 32;
template <int D>
__device__ void save_shared(float4* at, const RowsF32<D>& r) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j)
    at[j * 32 + threadIdx.x % 32] = {r.half[0][j].x, r.half[0][j].y, r.half[1][j].x,
                                     r.half[1][j].y};
}
template <int D>
__device__ RowsF32<D> load_shared(const float4* at) {
  RowsF32<D> r;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) {
    const float4 x = at[j * 32 + threadIdx.x % 32];
    r.half[0][j] = float2{x.x, x.y}, r.half[1][j] = float2{x.z, x.w};
  }
  return r;
}

/// A of a product, 16×8 (N = 4), or B, 8×8 (N = 2): the floats' tf32 parts. The instruction does
/// not see what the smaller part has beyond tf32.
template <int Terms, int N>
struct Operand {
  u32 big[N], small[N];
};
template <int Terms, int N>
__device__ Operand<Terms, N> operand(const float (&x)[N]) {
  Operand<Terms, N> y = {};
#pragma unroll
  for (int i = 0; i < N; ++i) {
    y.big[i] = Terms == 1 ? __float_as_uint(x[i]) : to_tf32(x[i]);
    if (Terms == 3) y.small[i] = __float_as_uint(x[i] - __uint_as_float(y.big[i]));
  }
  return y;
}
template <int Terms>
__device__ Operand<Terms, 2> operand(float2 x) {
  const float pair[2] = {x.x, x.y};
  return operand<Terms>(pair);
}
template <int Terms>
__device__ Operand<Terms, 4> operand(float2 lo, float2 hi) {
  const float block[4] = {lo.x, hi.x, lo.y, hi.y};
  return operand<Terms>(block);
}

/// d += a b.
template <int Terms>
__device__ void multiply(float (&d)[4], const Operand<Terms, 4>& a, const Operand<Terms, 2>& b) {
  if constexpr (Terms == 3) {
    mma_tf32(d, a.small, b.big[0], b.big[1]);
    mma_tf32(d, a.big, b.small[0], b.small[1]);
  }
  mma_tf32(d, a.big, b.big[0], b.big[1]);
}

/// d = a bᵀ + c for the 16 rows a and 8 rows b; c as masks (−∞) and what is subtracted anyway.
template <int Terms, int D>
__device__ void scores(float (&d)[4], const RowsF32<D>& a, const Half<D>& b, float c0, float c1,
                       float c2, float c3) {
  d[0] = c0, d[1] = c1, d[2] = c2, d[3] = c3;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j)
    multiply<Terms>(d, operand<Terms>(a.half[0][j], a.half[1][j]), operand<Terms>(b[j]));
}

/// A 16×8 tile of weights as A of a product that sums over its columns.
template <int Terms>
__device__ Operand<Terms, 4> weights(const float (&s)[4]) {
  const float block[4] = {s[0], s[2], s[1], s[3]};
  return operand<Terms>(block);
}
/// Of two neighbouring tiles, rows 0 … 7 (half 0) or 8 … 15 as A of a product that sums over them.
template <int Terms>
__device__ Operand<Terms, 4> transposed_weights(const float (&left)[4], const float (&right)[4],
                                                int half) {
  return operand<Terms>(transpose_floats(float2{left[2 * half], left[2 * half + 1]}),
                        transpose_floats(float2{right[2 * half], right[2 * half + 1]}));
}

/// sums += w x, where w and x are `Steps` fragments of 8 columns and of 8 rows, x transposed. Two
/// fragments at a time: every product waits for the one before it.
template <int Terms, int D, int Steps>
__device__ void accumulate(Sums<D>& sums, const Operand<Terms, 4> (&w)[Steps],
                           const Half<D> (&x)[Steps]) {
#pragma unroll
  for (int j = 0; j < regs<D>; ++j)
#pragma unroll
    for (int first = 0; first < Steps; first += 2) {
      float part[4] = {};
#pragma unroll
      for (int i = first; i < first + 2 && i < Steps; ++i)
        multiply<Terms>(Terms == 1 ? sums[j] : part, w[i], operand<Terms>(x[i][j]));
      if constexpr (Terms == 3)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[j][e] += part[e];
    }
}

/// The lane's share of the product of two rows.
template <int D>
__device__ float dot(const Half<D>& a, const Half<D>& b) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < regs<D>; ++j) sum = fmaf(a[j].y, b[j].y, fmaf(a[j].x, b[j].x, sum));
  return sum;
}

/// Calls f.template operator()<D, Terms>() with the terms of matmul_precision(). At D = 128 a
/// gradient's fragments of floats do not fit in registers.
template <class F>
void with_width_and_terms(int D, F f) {
  with_width<most_width<float>>(D, [&]<int Width>() {
    if (matmul_precision() == MatmulPrecision::tf32)
      f.template operator()<Width, 1>();
    else
      f.template operator()<Width, 3>();
  });
}

}  // namespace flr::cuda::flare
