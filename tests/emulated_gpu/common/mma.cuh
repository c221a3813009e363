// In place of kernels/common/mma.cuh: tensor-core instructions computed from the fragments of 32
// lanes, which lie as the PTX ISA says in "Matrix Fragments for mma.m16n8k8" and "… mma.m16n8k16".
// A lane fetches the elements that its own results need from the lanes and registers that hold them.
#pragma once

#include <algorithm>

#include "device.cuh"

namespace flr::cuda {

inline std::uint32_t pack_bf16(float low, float high) {
  return bf16(low).bits | std::uint32_t{bf16(high).bits} << 16;
}

inline float low_bf16(std::uint32_t p) {
  return __uint_as_float(p << 16);
}
inline float high_bf16(std::uint32_t p) {
  return __uint_as_float(p & 0xffff0000u);
}

inline float exp2_fast(float x) {
  return exp2f(x);
}
inline float divide_fast(float x, float y) {
  return x / y;
}

namespace emulated_mma {

/// One of the two bf16 in a register.
inline float half_of(std::uint32_t word, std::size_t half) {
  bf16 x;
  x.bits = std::uint16_t(half ? word >> 16 : word);
  return x;
}

/// d += a b for operands of 16×depth and depth×8, depth 8 or 16. A lane computes rows groupID and
/// groupID + 8 (the manual's word for lane / 4), columns 2 (lane % 4) and the next one.
inline void multiply(float (&d)[4], const emulated::Operands& mine, int depth) {
  const auto& all = ::emulated::Block::current()->exchange(::emulated::Instruction::mma, mine);
  const std::size_t lane = threadIdx.x % 32;
  double sum[4] = {d[0], d[1], d[2], d[3]};
  for (std::size_t k = 0; k < std::size_t(depth); ++k) {
    const std::size_t in_group = k % 8 / 2;
    double a[2], b[2];
    for (std::size_t x = 0; x < 2; ++x) {
      a[x] = half_of(all[lane / 4 * 4 + in_group][x + k / 8 * 2], k % 2);
      b[x] = half_of(all[(lane % 4 * 2 + x) * 4 + in_group][4 + k / 8], k % 2);
    }
    for (std::size_t i = 0; i < 4; ++i) sum[i] += a[i / 2] * b[i % 2];
  }
  for (std::size_t i = 0; i < 4; ++i) d[i] = float(sum[i]);
}

}  // namespace emulated_mma

inline void mma_k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
  emulated_mma::multiply(d, {a[0], a[1], 0, 0, b}, 8);
}
inline void mma_k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                    std::uint32_t b1) {
  emulated_mma::multiply(d, {a[0], a[1], a[2], a[3], b0, b1}, 16);
}
inline void mma_k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b, const float (&c)[4]) {
  float sums[4] = {c[0], c[1], c[2], c[3]};
  mma_k8(sums, a, b);
  std::copy(sums, sums + 4, d);
}
inline void mma_k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                    const float (&c)[4]) {
  float sums[4] = {c[0], c[1], c[2], c[3]};
  mma_k16(sums, a, b0, b1);
  std::copy(sums, sums + 4, d);
}

/// The nearest float of 10 bits of mantissa, as its bits.
inline std::uint32_t to_tf32(float x) {
  return (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
}
/// "Matrix Fragments for mma.m16n8k8", tf32: further bits of operands do not count.
inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  const auto& all = ::emulated::Block::current()->exchange(::emulated::Instruction::mma,
                                                          {a[0], a[1], a[2], a[3], b0, b1});
  const std::size_t lane = threadIdx.x % 32;
  double sum[4] = {d[0], d[1], d[2], d[3]};
  for (std::size_t k = 0; k < 8; ++k) {
    const auto value = [&](std::size_t at, std::size_t i) { return double(__uint_as_float(all[at][i] & 0xffffe000u)); };
    double a[2], b[2];
    for (std::size_t x = 0; x < 2; ++x) {
      a[x] = value(lane / 4 * 4 + k % 4, x + k / 4 * 2);
      b[x] = value((lane % 4 * 2 + x) * 4 + k % 4, 4 + k / 4);
    }
    for (std::size_t i = 0; i < 4; ++i) sum[i] += a[i / 2] * b[i % 2];
  }
  for (std::size_t i = 0; i < 4; ++i) d[i] = float(sum[i]);
}

/// movmatrix: row r of the matrix lies in lanes 4r … 4r + 3, two columns in each.
inline std::uint32_t transpose_8x8(std::uint32_t x) {
  const int row = int(threadIdx.x % 32) / 4, column = int(threadIdx.x % 4) * 2;
  const auto& all = ::emulated::Block::current()->exchange(::emulated::Instruction::matrices, {x});
  const auto element = [&](int r, int c) {
    return all[std::size_t(4 * r + c / 2)][0] >> (c % 2 * 16) & 0xffffu;
  };
  return element(column, row) | element(column + 1, row) << 16;
}

}  // namespace flr::cuda
