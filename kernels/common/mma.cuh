// Tensor-core instructions on registers (PTX ISA, "Warp-level matrix instructions"), with the layout
// of their fragments. g = lane / 4 (0 … 7), t = lane % 4 (0 … 3).
//
//   C, D of every shape here, 16×8 of float:       c0 c1 at row g,     columns 2t, 2t+1
//                                                  c2 c3 at row g + 8, columns 2t, 2t+1
//   A of m16n8k8 bf16 (row-major 16×8):            a0 at row g, columns 2t, 2t+1; a1 at row g + 8
//   B of m16n8k8 bf16 (8×8, "column-major"):       b0 at rows 2t, 2t+1, column g
//   A of m16n8k16 bf16: a0, a1 as above for columns 0 … 7, a2, a3 the same for columns 8 … 15
//   B of m16n8k16 bf16: b0 as above for rows 0 … 7, b1 for rows 8 … 15
//   A of m16n8k8 tf32:  a0 (g, t), a1 (g+8, t), a2 (g, t+4), a3 (g+8, t+4)
//   B of m16n8k8 tf32:  b0 (t, g), b1 (t+4, g)
#pragma once

#include <cuda_bf16.h>
#include <cstdint>

namespace flr::cuda {

/// Two floats as a register of two bf16, `low` in the lower half.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 p = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&p);
}
/// The two halves of such a register.
__device__ inline float low_bf16(std::uint32_t p) { return __uint_as_float(p << 16); }
__device__ inline float high_bf16(std::uint32_t p) { return __uint_as_float(p & 0xffff0000u); }

/// d += a b, m16n8k8, bf16 with float sums.
__device__ inline void mma_k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b));
}

/// d += a b, m16n8k16, bf16 with float sums.
__device__ inline void mma_k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                               std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// d = a b + c. c is an operand of its own, so that masks (−∞) and what is added anyway come for
/// nothing.
__device__ inline void mma_k8(float (&d)[4], const std::uint32_t (&a)[2], std::uint32_t b,
                              const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%7,%8,%9,%10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
__device__ inline void mma_k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                               std::uint32_t b1, const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]),
        "f"(c[2]), "f"(c[3]));
}

/// d += a b, m16n8k8, tf32 operands (the bits of floats, of which 10 bits of mantissa count).
__device__ inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// The float nearest to x that tf32 holds, as its bits.
__device__ inline std::uint32_t to_tf32(float x) {
  std::uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

/// Transposes an 8×8 matrix of 16-bit values held one row a quad (lane 4r + t: columns 2t, 2t+1).
__device__ inline std::uint32_t transpose_8x8(std::uint32_t x) {
  std::uint32_t y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

/// 2ˣ by the special-function unit (about 2 ulp; 0 for −∞).
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// x / y for y from 2^-126 to 2^126 (about 2 ulp).
__device__ inline float divide_fast(float x, float y) {
  float z;
  asm("div.approx.ftz.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}

}  // namespace flr::cuda
