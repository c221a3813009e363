// Between global memory, shared memory and the fragments of mma.cuh: asynchronous copies (PTX ISA,
// "cp.async") and loads of 8×8 matrices ("ldmatrix").
#pragma once

#include <cstdint>

namespace flr::cuda {

/// The address that copies and matrix loads take.
__device__ inline unsigned shared_address(const void* x) {
  return static_cast<unsigned>(__cvta_generic_to_shared(x));
}

/// Begins to copy `Bytes` = 4, 8 or 16; writes zeros and reads nothing where they do not exist.
template <int Bytes>
__device__ void copy_async(unsigned to, const void* from, bool exists) {
  const int bytes = exists ? Bytes : 0;
  if constexpr (Bytes == 16)  // not through the first-level cache
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(Bytes),
                 "r"(bytes)
                 : "memory");
}
/// Waits for this thread's copies; a barrier then makes those of all threads visible.
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}
/// What this thread has begun to copy since the last call is a group.
__device__ inline void end_of_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits for this thread's groups but the last `Left` of them.
template <int Left>
__device__ void wait_for_copies_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

__device__ inline float load_float(unsigned address) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(address) : "memory");
  return x;
}

// Shared memory by its 32-bit addresses, which leave the registers to other things.
__device__ inline float4 load4(unsigned at) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(at));
  return x;
}
__device__ inline void save4(unsigned at, float4 x) {
  asm volatile("st.shared.v4.f32 [%0], {%1,%2,%3,%4};" ::"r"(at), "f"(x.x), "f"(x.y), "f"(x.z),
               "f"(x.w)
               : "memory");
}
__device__ inline uint2 load2(unsigned at) {
  uint2 x;
  asm volatile("ld.shared.v2.b32 {%0,%1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(at));
  return x;
}
__device__ inline void save2(unsigned at, uint2 x) {
  asm volatile("st.shared.v2.b32 [%0], {%1,%2};" ::"r"(at), "r"(x.x), "r"(x.y) : "memory");
}
__device__ inline void save1(unsigned at, std::uint32_t x) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(x) : "memory");
}

/// Four 8×8 matrices of 16-bit values. Lane 8i + r gives the address of row r (16 bytes) of matrix
/// i, which arrives in b[i]: lane 4g + t receives columns 2t, 2t+1 of row g, or, transposed, rows
/// 2t, 2t+1 of column g.
template <bool Transposed>
__device__ void load_matrices(std::uint32_t (&b)[4], unsigned address) {
  if constexpr (Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(address)
                 : "memory");
}
/// Two matrices, whose rows are those of lanes 0 … 15.
template <bool Transposed>
__device__ void load_matrices(std::uint32_t (&b)[2], unsigned address) {
  if constexpr (Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(b[0]), "=r"(b[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(b[0]), "=r"(b[1])
                 : "r"(address)
                 : "memory");
}

}  // namespace flr::cuda
