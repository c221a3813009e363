// Hopper's products of a warpgroup (PTX ISA, "Asynchronous warpgroup level matrix instructions"): 64
// rows in the registers of four warps, or in shared memory, by a matrix in shared memory, which the tensor
// cores read by themselves and once for all 64 rows, where mma.cuh reads it for every 16.
//
// A warp's 16 rows are an A fragment of m16n8k16 (mma.cuh), and its sums lie as those of sixteen
// m16n8 products beside each other.
//
// The matrix [rows, columns] of bf16 lies in panels of 64 columns, 128 bytes a row, in which the 16-byte
// piece c of row r is at place c ^ r % 8 ("128-byte swizzle"); panels begin at multiples of 1024 bytes.
#pragma once

#include <cstdint>

namespace flr::cuda {

/// Whether this is compiled for Hopper itself: code for 9.0 that later GPUs run as well has no wgmma.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool has_wgmma = true;
#else
inline constexpr bool has_wgmma = false;
#endif

/// The element of a panel matrix of `rows` rows where (row, column) lies.
__device__ inline int in_panels(int rows, int row, int column) {
  return (column / 64 * rows + row) * 64 + ((column / 8 % 8 ^ row % 8) * 8) + column % 8;
}

/// What shared memory is written with becomes visible to wgmma; before the barrier that ends the
/// writing.
__device__ inline void fence_for_wgmma() {
  if constexpr (has_wgmma) asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Sums of a warp's 16 rows by 128 and by 64 columns.
using WideSums = float[8][2][4];
using NarrowSums = float[4][2][4];

#define FLR_ROW(j)                                                                    \
  "+f"(d[j][0][0]), "+f"(d[j][0][1]), "+f"(d[j][0][2]), "+f"(d[j][0][3]), "+f"(d[j][1][0]), \
      "+f"(d[j][1][1]), "+f"(d[j][1][2]), "+f"(d[j][1][3])
#define FLR_NARROW FLR_ROW(0), FLR_ROW(1), FLR_ROW(2), FLR_ROW(3)
#define FLR_WIDE FLR_NARROW, FLR_ROW(4), FLR_ROW(5), FLR_ROW(6), FLR_ROW(7)

/// A product's steps in order: begin(), add() for every 16 of what is summed over, commit(), wait(). From
/// begin() to wait() nothing else touches the sums, and nothing writes the operands.
struct Wgmma {
  /// Where 16 of the summed extent lie in a panel matrix of `Rows` rows: along its columns, x Wᵀ, or its
  /// rows (`Transposed`), x W. `step` counts these 16s.
  template <bool Transposed, int Rows = 128>
  __device__ static std::uint64_t matrix(unsigned shared, int step) {
    constexpr unsigned panel = Rows * 128, eight_rows = 1024;
    const unsigned at = Transposed ? shared + step * 2 * eight_rows
                                   : shared + step / 4 * panel + step % 4 * 32;
    constexpr std::uint64_t swizzle = std::uint64_t{1} << 62;
    return swizzle | std::uint64_t{eight_rows / 16} << 32 | std::uint64_t{panel / 16} << 16 |
           (at & 0x3ffff) / 16;
  }
  /// Whatever made the sums, and operands in registers, comes before it.
  __device__ static void begin(WideSums& d) { asm volatile("wgmma.fence.sync.aligned;" : FLR_WIDE : : "memory"); }
  __device__ static void begin(NarrowSums& d) { asm volatile("wgmma.fence.sync.aligned;" : FLR_NARROW : : "memory"); }
  /// Operands in registers are complete here.
  template <int N>
  __device__ static void hold(std::uint32_t (&a)[N][4]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3]));
  }
  /// d += a · the matrix, sums over its columns or (`Transposed`) rows.
  template <bool Transposed>
  __device__ static void add(WideSums& d, const std::uint32_t (&a)[4], std::uint64_t matrix) {
    asm volatile(
        "{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
        "{%64,%65,%66,%67}, %68, p, 1, 1, %69; }"
        : FLR_WIDE
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(matrix), "n"(Transposed ? 1 : 0));
  }
  /// d += a · bᵀ, or d = a · bᵀ with `first`: 64 rows of a and of b in shared memory, whose columns are
  /// summed over; with `Across` a's columns are the 64 and its rows are summed over.
  template <bool Across>
  __device__ static void add(NarrowSums& d, std::uint64_t a, std::uint64_t b, bool first) {
    asm volatile(
        "{ .reg .pred p; setp.eq.u32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
        "%32, %33, p, 1, 1, %35, 0; }"
        : FLR_NARROW
        : "l"(a), "l"(b), "r"(unsigned(first)), "n"(Across ? 1 : 0));
  }
  /// What was added since the last commit is a group.
  __device__ static void commit() { asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory"); }
  /// All groups but the last `Left` are over; d is of those that are.
  template <int Left>
  __device__ static void wait(WideSums& d) {
    asm volatile("wgmma.wait_group.sync.aligned %64;" : FLR_WIDE : "n"(Left) : "memory");
  }
  template <int Left>
  __device__ static void wait(NarrowSums& d) {
    asm volatile("wgmma.wait_group.sync.aligned %32;" : FLR_NARROW : "n"(Left) : "memory");
  }
  __device__ static void finish(WideSums& d) {
    commit();
    wait<0>(d);
  }
};

#undef FLR_WIDE
#undef FLR_NARROW
#undef FLR_ROW

}  // namespace flr::cuda
