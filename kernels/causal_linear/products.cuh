// Products of tiles in shared memory, by a block of four warps: on tensor cores for bf16, by
// multiply-adds for float. Sums stay in registers, in whatever place the products leave them.
#pragma once

#include "causal_linear/problem.hpp"
#include "common/device.cuh"
#include "common/mma.cuh"
#include "common/shared.cuh"

namespace flr::cuda::causal {

using u32 = std::uint32_t;

/// From one row of a tile to the next, so that fragments and rows come from different banks: a row
/// is 4 (mod 8) words of bf16 longer than the one before it, or 4 banks further in float.
template <class T>
constexpr int pitch(int width) {
  if (sizeof(T) == 4) return width + 4;
  return width % 16 == 0 ? width + 8 : width + 16;
}

/// One side of a product: `i` counts rows of the left or columns of the right side, `k` what is
/// summed over. `Along`: the tile's rows run along k; else its columns do.
template <class T, bool Along>
struct Side {
  const T* data;
  int stride;
  __device__ T at(int i, int k) const {
    return Along ? data[i * stride + k] : data[k * stride + i];
  }
  /// k and k + 1, of an even k.
  __device__ u32 pair(int i, int k) const {
    if constexpr (Along) return *reinterpret_cast<const u32*>(data + i * stride + k);
    return at(i, k).bits | u32{at(i, k + 1).bits} << 16;
  }
  /// Fragments of bf16: of the left side 16 rows from i on, of the right one 8 columns from i on
  /// (and 8 from `next` on), with 16 of k. i and k are multiples of 8.
  __device__ void left(u32 (&to)[4], int i, int k, int lane) const {
    load_matrices<!Along>(to, Along ? place(i + lane % 16, k + lane / 16 * 8)
                                    : place(i + lane / 8 % 2 * 8, k + lane / 16 * 8 + lane % 8));
  }
  __device__ void right(u32 (&to)[2], int i, int k, int lane) const {
    const int part = lane / 8 % 2 * 8, r = lane % 8;
    load_matrices<!Along>(to, Along ? place(i + r, k + part) : place(i, k + part + r));
  }
  __device__ void right(u32 (&to)[4], int i, int next, int k, int lane) const {
    const int part = lane / 8 % 2 * 8, r = lane % 8;
    const int n = lane < 16 ? i : next;
    load_matrices<!Along>(to, Along ? place(n + r, k + part) : place(n, k + part + r));
  }

 private:
  __device__ unsigned place(int i, int k) const {
    return shared_address(Along ? data + i * stride + k : data + k * stride + i);
  }
};
template <class T>
__device__ Side<T, true> along(const T* data, int width) {
  return {data, pitch<T>(width)};
}
template <class T>
__device__ Side<T, false> across(const T* data, int width) {
  return {data, pitch<T>(width)};
}

/// M×N sums of a block; M is 16, 32 or 64.
template <class T, int M, int N>
struct Sums;

/// Four warps share the M/16 rows of fragments, and the columns where there are fewer rows.
template <int M, int N>
struct Sums<bf16, M, N> {
  static constexpr int rows = M / 16, parts = 4 / rows, fragments = (N / 8 + parts - 1) / parts;
  /// Those that all warps have, by twos.
  static constexpr int paired = N / 8 / parts / 2 * 2;
  float v[fragments][4] = {};

  __device__ static int row(int thread) { return thread / 32 % rows * 16; }
  __device__ static int column(int f, int thread) { return (thread / 32 / rows + f * parts) * 8; }

  template <int K, class A, class B>
  __device__ void add(const A& a, const B& b) {
    const int thread = thread_apart(), lane = thread % 32;
#pragma unroll
    for (int k = 0; k + 16 <= K; k += 16) {
      u32 left[4];
      a.left(left, row(thread), k, lane);
#pragma unroll
      for (int f = 0; f < paired; f += 2) {
        u32 right[4];
        b.right(right, column(f, thread), column(f + 1, thread), k, lane);
        mma_k16(v[f], left, right[0], right[1]);
        mma_k16(v[f + 1], left, right[2], right[3]);
      }
#pragma unroll
      for (int f = paired; f < fragments; ++f) {
        if (column(f, thread) >= N) continue;
        u32 right[2];
        b.right(right, column(f, thread), k, lane);
        mma_k16(v[f], left, right[0], right[1]);
      }
    }
    if constexpr (K % 16 == 8) {
      constexpr int k = K - 8;
      const int g = lane / 4, t = lane % 4, m = row(thread) + g;
      const u32 left[2] = {a.pair(m, k + 2 * t), a.pair(m + 8, k + 2 * t)};
#pragma unroll
      for (int f = 0; f < fragments; ++f) {
        const int n = column(f, thread);
        if (n < N) mma_k8(v[f], left, b.pair(n + g, k + 2 * t));
      }
    }
  }
  __device__ void add_sums(const Sums& other) {
#pragma unroll
    for (int f = 0; f < fragments; ++f)
#pragma unroll
      for (int e = 0; e < 4; ++e) v[f][e] += other.v[f][e];
  }
  /// f(row, column, value&) for this thread's sums.
  template <class F>
  __device__ void each(F f) {
    const int thread = thread_apart(), lane = thread % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < fragments; ++i) {
      const int n = column(i, thread) + 2 * t;
      if (n >= N) continue;
#pragma unroll
      for (int e = 0; e < 4; ++e) f(row(thread) + g + e / 2 * 8, n + e % 2, v[i][e]);
    }
  }
};

/// A thread has every sixteenth row and every eighth column.
template <int M, int N>
struct Sums<float, M, N> {
  float v[M / 16][N / 8] = {};

  template <int K, class A, class B>
  __device__ void add(const A& a, const B& b) {
    const int y = threadIdx.x / 8, x = threadIdx.x % 8;
#pragma unroll 4
    for (int k = 0; k < K; ++k) {
      float left[M / 16], right[N / 8];
#pragma unroll
      for (int i = 0; i < M / 16; ++i) left[i] = a.at(y + 16 * i, k);
#pragma unroll
      for (int j = 0; j < N / 8; ++j) right[j] = b.at(x + 8 * j, k);
#pragma unroll
      for (int i = 0; i < M / 16; ++i)
#pragma unroll
        for (int j = 0; j < N / 8; ++j) v[i][j] = fmaf(left[i], right[j], v[i][j]);
    }
  }
  __device__ void add_sums(const Sums& other) {
#pragma unroll
    for (int i = 0; i < M / 16; ++i)
#pragma unroll
      for (int j = 0; j < N / 8; ++j) v[i][j] += other.v[i][j];
  }
  template <class F>
  __device__ void each(F f) {
    const int y = threadIdx.x / 8, x = threadIdx.x % 8;
#pragma unroll
    for (int i = 0; i < M / 16; ++i)
#pragma unroll
      for (int j = 0; j < N / 8; ++j) f(y + 16 * i, x + 8 * j, v[i][j]);
  }
};

/// Sums as a tile for the next product, rounded to T.
template <int Width, class T, int M, int N>
__device__ void to_tile(T* to, Sums<T, M, N>& sums) {
  sums.each([&](int m, int n, float& v) { to[m * pitch<T>(Width) + n] = from_compute<T>(v); });
}
/// The same with zeros above the diagonal: what later keys would send to earlier queries.
template <class T>
__device__ void to_lower_triangle(T* to, Sums<T, tile, tile>& sums) {
  sums.each([&](int m, int n, float& v) {
    to[m * pitch<T>(tile) + n] = from_compute<T>(n <= m ? v : 0.0f);
  });
}

}  // namespace flr::cuda::causal
