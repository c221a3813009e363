// How rows of q, k, v and their gradients lie in the registers of a warp.
//
// A row belongs to `lanes` neighbouring lanes, which take turns at its quads (four channels): lane
// l holds quads l, l + lanes, l + 2·lanes, … Lanes of one turn thus read neighbouring 16 bytes of a
// row in shared memory, and lanes of different rows the same ones: no bank conflict, and nothing
// but the sum of a dot product ever crosses lanes. A thread holds `rows` rows, 32 / lanes apart, so
// that everything read from shared memory is used `rows` times.
#pragma once

#include "common/device.cuh"
#include "common/mma.cuh"
#include "plan.hpp"

namespace flr::cuda::attention {

template <class Scalar, int Quads, int Lanes, int Rows, int Resident>
struct Layout {
  using T = Scalar;
  using C = compute_t<T>;
  static constexpr int quads = Quads, lanes = Lanes, rows = Rows, resident = Resident;
  static constexpr int depth = 4 * Quads * Lanes;  ///< channels, the rest is filled with zeros
  static constexpr int group = 32 / Lanes * Rows;  ///< rows of a warp
  static constexpr int tile_by_memory = 16384 / int(sizeof(C)) / depth;
  static constexpr int tile = tile_by_memory < 128 ? tile_by_memory : 128;
  static constexpr int tile_numbers = tile * depth;

  using Registers = C[Rows][Quads][4];

  /// The first channel of this lane's quad.
  static __device__ int channel(int quad) { return (quad * Lanes + int(threadIdx.x) % Lanes) * 4; }
  /// The row r of this thread among the rows of its warp.
  static __device__ int row(int r) { return r * (32 / Lanes) + int(threadIdx.x) % 32 / Lanes; }
};

template <class C>
inline constexpr C log2_e = C(1.44269504088896340736);
template <class C>
inline constexpr C ln_2 = C(0.693147180559945309417);

constexpr int larger(int a, int b) {
  return a > b ? a : b;
}

__device__ inline float exp2_of(float x) {
  return exp2_fast(x);
}
__device__ inline double exp2_of(double x) {
  return exp2(x);
}
template <class C>
__device__ C minus_infinity() {
  return C(-INFINITY);
}

/// Whether quads of a tensor's rows can be moved as one.
template <class T>
bool quads_align(const T* x, const HeadStrides& s, index_t depth) {
  return reinterpret_cast<std::uintptr_t>(x) % (4 * sizeof(T)) == 0 && depth % 4 == 0 &&
         s.batch % 4 == 0 && s.head % 4 == 0 && s.row % 4 == 0;
}

/// Row 0 of head `unit` = b · H + h.
template <class T>
__device__ T* head(T* x, const HeadStrides& s, index_t unit, index_t H) {
  return x + unit / H * s.batch + unit % H * s.head;
}

/// Four channels from d on of a row of `depth`; zeros beyond.
template <bool Aligned, class T>
__device__ Pack<compute_t<T>, 4> load_quad(const T* row, int d, int depth) {
  Pack<compute_t<T>, 4> x = {};
  if constexpr (Aligned) {
    if (d < depth) {
      const Pack<T, 4> y = *reinterpret_cast<const Pack<T, 4>*>(row + d);
#pragma unroll
      for (int e = 0; e < 4; ++e) x.v[e] = to_compute(y.v[e]);
    }
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (d + e < depth) x.v[e] = to_compute(row[d + e]);
  }
  return x;
}

/// This thread's rows of the warp's group that begins at row `first`, times `factor`. Rows beyond
/// the last repeat it: they are computed with and never stored.
template <class L>
__device__ void load_rows(typename L::Registers& x, const typename L::T* head, index_t stride,
                          index_t first, index_t count, int depth, bool aligned,
                          typename L::C factor) {
#pragma unroll
  for (int r = 0; r < L::rows; ++r) {
    const index_t i = first + L::row(r);
    const auto* row = head + (i < count ? i : count - 1) * stride;
#pragma unroll
    for (int q = 0; q < L::quads; ++q) {
      const auto y = aligned ? load_quad<true>(row, L::channel(q), depth)
                             : load_quad<false>(row, L::channel(q), depth);
#pragma unroll
      for (int e = 0; e < 4; ++e) x[r][q][e] = y.v[e] * factor;
    }
  }
}

/// Stores these rows, times factor[r], as storage (U = T) or as a partial result (U = C).
template <class L, class U>
__device__ void store_rows(const typename L::Registers& x, const typename L::C (&factor)[L::rows],
                           U* head, index_t stride, index_t first, index_t count, int depth,
                           bool aligned, bool accumulate) {
#pragma unroll
  for (int r = 0; r < L::rows; ++r) {
    const index_t i = first + L::row(r);
    if (i >= count) continue;
    U* const row = head + i * stride;
#pragma unroll
    for (int q = 0; q < L::quads; ++q) {
      const int d = L::channel(q);
      if (aligned && !accumulate) {
        Pack<U, 4> y;
#pragma unroll
        for (int e = 0; e < 4; ++e) y.v[e] = from_compute<U>(x[r][q][e] * factor[r]);
        if (d < depth) *reinterpret_cast<Pack<U, 4>*>(row + d) = y;
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (d + e < depth) put(row + d + e, x[r][q][e] * factor[r], accumulate);
      }
    }
  }
}

template <bool Aligned, class L>
__device__ void fill_tile(typename L::C* tile, const typename L::T* rows, index_t stride, int n,
                          int depth) {
  constexpr int quads = L::depth / 4;
#pragma unroll
  for (int x = 0; x < L::tile * quads; x += threads) {
    const int at = x + int(threadIdx.x), r = at / quads, d = at % quads * 4;
    Pack<typename L::C, 4> y = {};
    if (r < n) y = load_quad<Aligned>(rows + r * stride, d, depth);
    *reinterpret_cast<Pack<typename L::C, 4>*>(tile + r * L::depth + d) = y;
  }
}
/// The block copies n rows into shared memory and fills the tile up with zeros.
template <class L>
__device__ void load_tile(typename L::C* tile, const typename L::T* rows, index_t stride, int n,
                          int depth, bool aligned) {
  if (aligned)
    fill_tile<true, L>(tile, rows, stride, n, depth);
  else
    fill_tile<false, L>(tile, rows, stride, n, depth);
}

/// A quad of a row in shared memory.
template <class C>
__device__ Pack<C, 4> quad_at(const C* x) {
  return *reinterpret_cast<const Pack<C, 4>*>(x);
}

/// The sum over the lanes of a row, the same bits in each of them.
template <class L, int N>
__device__ void sum_lanes(typename L::C (&s)[L::rows][N]) {
#pragma unroll
  for (int d = 1; d < L::lanes; d *= 2)
#pragma unroll
    for (int r = 0; r < L::rows; ++r)
#pragma unroll
      for (int c = 0; c < N; ++c) s[r][c] += __shfl_xor_sync(0xffffffffu, s[r][c], d);
}

/// x of the warps that hold the same rows, added up in order of the loop warps into the first one.
/// `memory` holds own_warps · 32 · rows · quads · 4 numbers; the block must be done with it.
template <class L>
__device__ void sum_warps(typename L::Registers& x, typename L::C* memory, int own_warp,
                          int loop_warp, int loop_warps) {
  typename L::C* const at =
      memory + own_warp * (L::rows * L::quads * 4 * 32) + int(threadIdx.x) % 32;
  for (int w = 1; w < loop_warps; ++w) {
    __syncthreads();
    if (loop_warp == w)
#pragma unroll
      for (int r = 0; r < L::rows; ++r)
#pragma unroll
        for (int q = 0; q < L::quads; ++q)
#pragma unroll
          for (int e = 0; e < 4; ++e) at[((r * L::quads + q) * 4 + e) * 32] = x[r][q][e];
    __syncthreads();
    if (loop_warp == 0)
#pragma unroll
      for (int r = 0; r < L::rows; ++r)
#pragma unroll
        for (int q = 0; q < L::quads; ++q)
#pragma unroll
          for (int e = 0; e < 4; ++e) x[r][q][e] += at[((r * L::quads + q) * 4 + e) * 32];
  }
}

/// Calls f with the layout for `depth` channels. Where lanes share rows, more registers than three
/// blocks leave are in use. Fewer layouts for double: it need not be fast.
template <class T, int Rows, int Resident, class F>
void with_layout(index_t depth, F&& f) {
  if constexpr (std::is_same_v<T, double>) {
    if (depth <= 8) return f(Layout<T, 2, 1, 1, 2>{});
    if (depth <= 32) return f(Layout<T, 2, 4, 1, 2>{});
    return f(Layout<T, 2, 16, 1, 2>{});
  } else {
    if (depth <= 8) return f(Layout<T, 2, 1, Rows, Resident>{});
    if (depth <= 16) return f(Layout<T, 4, 1, Rows, Resident>{});
    if (depth <= 32) return f(Layout<T, 4, 2, Rows, 2>{});
    if (depth <= 64) return f(Layout<T, 4, 4, Rows, 2>{});
    return f(Layout<T, 4, 8, Rows, 2>{});
  }
}

}  // namespace flr::cuda::attention
