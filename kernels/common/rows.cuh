// Rows of a matrix in registers: a group of lanes shares a row, each lane holds a few packs of it.
#pragma once

#include <algorithm>

#include "device.cuh"

namespace flr::cuda {

inline constexpr int row_threads = 256;

/// Lane l of `Lanes` (a power of two, at most a block) holds packs l, l + Lanes, …, `Packs` of
/// them, each of `Width` neighbouring values.
template <int Width, int Lanes, int Packs>
struct RowLayout {
  static constexpr int width = Width, lanes = Lanes, packs = Packs, values = Width * Packs;
  static constexpr int columns = Lanes * values, rows = row_threads / Lanes;

  __device__ static int lane() { return int(threadIdx.x) % Lanes; }
  __device__ static int column(int pack) { return (pack * Lanes + lane()) * Width; }
};

/// A lane's part of a row as it is stored; zeros beyond the row's end and where there is no row.
template <class Layout, class T>
struct RowPacks {
  using P = Pack<T, Layout::width>;
  P pack[Layout::packs];

  __device__ void load(const T* x, index_t row, index_t rows, int cols) {
#pragma unroll
    for (int k = 0; k < Layout::packs; ++k) {
      pack[k] = P{};
      const int c = Layout::column(k);
      if (row < rows && c < cols) pack[k] = *reinterpret_cast<const P*>(x + row * cols + c);
    }
  }
  __device__ void store(T* x, index_t row, index_t rows, int cols) const {
#pragma unroll
    for (int k = 0; k < Layout::packs; ++k) {
      const int c = Layout::column(k);
      if (row < rows && c < cols) *reinterpret_cast<P*>(x + row * cols + c) = pack[k];
    }
  }
  __device__ compute_t<T> value(int v) const {
    return to_compute(pack[v / Layout::width].v[v % Layout::width]);
  }
  __device__ void set(int v, compute_t<T> x) {
    pack[v / Layout::width].v[v % Layout::width] = from_compute<T>(x);
  }
  /// Whether value v lies within the row.
  __device__ static bool inside(int v, int cols) {
    return Layout::column(v / Layout::width) < cols;
  }
};

/// Column parameters of a lane's values; `otherwise` where there are none.
template <class Layout, class C>
__device__ void load_columns(const C* w, int cols, C otherwise, C (&v)[Layout::values]) {
  if constexpr (Layout::width % 4 == 0 && sizeof(C) == 4) {
    if (reinterpret_cast<std::uintptr_t>(w) % 16 == 0) {
#pragma unroll
      for (int i = 0; i < Layout::values; i += 4) {
        const int c = Layout::column(i / Layout::width) + i % Layout::width;
        float4 four = make_float4(otherwise, otherwise, otherwise, otherwise);
        if (w && c < cols) four = *reinterpret_cast<const float4*>(w + c);
        v[i] = four.x, v[i + 1] = four.y, v[i + 2] = four.z, v[i + 3] = four.w;
      }
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < Layout::values; ++i) {
    const int c = Layout::column(i / Layout::width) + i % Layout::width;
    v[i] = w && c < cols ? w[c] : otherwise;
  }
}

/// The sum over the lanes of a row, in each of them. `part` is shared memory of a value a warp.
template <int Lanes, class C>
__device__ C group_sum(C x, C* part) {
  if constexpr (Lanes > 32) {
    return block_sum<row_threads>(x, part);
  } else {
#pragma unroll
    for (int d = Lanes / 2; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
  }
}

template <int Lanes, class C>
__device__ C group_max(C x, C* part) {
#pragma unroll
  for (int d = (Lanes < 32 ? Lanes : 32) / 2; d > 0; d /= 2) {
    const C y = __shfl_xor_sync(0xffffffffu, x, d);
    x = y > x ? y : x;
  }
  if constexpr (Lanes > 32) {
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < row_threads / 32; ++w) x = part[w] > x ? part[w] : x;
  }
  return x;
}

inline bool aligned_16(const void* a, const void* b = nullptr, const void* c = nullptr) {
  return ((reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b) |
           reinterpret_cast<std::uintptr_t>(c)) &
          15) == 0;
}

/// Blocks of a kernel that loops over rows: at most `most`; where each makes several passes, so many that all
/// make as many. With few passes that would leave multiprocessors idle.
inline unsigned even_blocks(index_t passes, index_t most) {
  const index_t each = ceil_div(passes, most);
  return unsigned(each < 4 ? std::min(passes, most) : ceil_div(passes, each));
}

/// Calls f with the layout for rows of `cols` values; false where the row is too long for
/// registers. Packs need `aligned` rows; doubles go one by one, they are not here to be fast.
template <class T, class F>
bool with_row_layout(index_t cols, bool aligned, F&& f) {
  if constexpr (sizeof(T) <= 4) {
    constexpr int width = pack_width<T>;
    if (aligned && cols % width == 0) {
      const index_t packs = cols / width;
      if (packs == 1) return f(RowLayout<width, 1, 1>{}), true;
      if (packs <= 4) return f(RowLayout<width, 4, 1>{}), true;
      if (packs <= 8) return f(RowLayout<width, 8, 1>{}), true;
      if (packs <= 16) return f(RowLayout<width, 16, 1>{}), true;
      if (packs <= 32) return f(RowLayout<width, 32, 1>{}), true;
      if (packs <= 64) return f(RowLayout<width, 32, 2>{}), true;
      if (packs <= 256) return f(RowLayout<width, 256, 1>{}), true;
      if (packs <= 512) return f(RowLayout<width, 256, 2>{}), true;
      if (packs <= 1024) return f(RowLayout<width, 256, 4>{}), true;
      return false;
    }
  }
  if (cols <= 32) return f(RowLayout<1, 32, 1>{}), true;
  if (cols <= 128) return f(RowLayout<1, 32, 4>{}), true;
  if (cols <= 1024) return f(RowLayout<1, 256, 4>{}), true;
  return false;
}

}  // namespace flr::cuda
