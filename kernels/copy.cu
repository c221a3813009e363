// dst = src (or +=) over one shape with strides on both sides: permutations, slices, broadcasts and
// their gradients. Axes are put in the destination's order and merged; then one of
//   contiguous   both are one run: 16-byte packs;
//   transposed   the source's fast axis is another one: 32×32 tiles through shared memory, so that
//                both sides are read and written along their own fast axis;
//   rows         anything else: one pack (or, where that is impossible, one element) at a time.
// All are bound by memory: every element is read and written once.
#include "common/elementwise.cuh"
#include "common/layout.cuh"
#include "table.hpp"

namespace flr::cuda {

namespace {

constexpr int threads = 256;

template <int N, class T>
__device__ void add_to(Pack<T, N>& x, const Pack<T, N>& y) {
#pragma unroll
  for (int j = 0; j < N; ++j) x.v[j] = from_compute<T>(to_compute(y.v[j]) + to_compute(x.v[j]));
}

template <class T, bool Accumulate>
struct CopyRun {
  const T* src;
  T* dst;

  template <int N>
  struct Packs {
    Pack<T, N> src, dst;
  };
  template <int N>
  __device__ Packs<N> load(index_t i) const {
    Packs<N> in;
    in.src = load_pack<N>(src + i);
    if constexpr (Accumulate) in.dst = load_pack<N>(dst + i);
    return in;
  }
  template <int N>
  __device__ void store(index_t i, const Packs<N>& in) const {
    Pack<T, N> out = in.src;
    if constexpr (Accumulate) add_to(out, in.dst);
    store_pack<N>(dst + i, out);
  }
};

/// `l` counts packs of N along its last axis; `splat`: the source has one value for a whole pack.
template <class T, int N>
__global__ void __launch_bounds__(threads)
    copy_rows(const T* src, T* dst, index_t packs, bool splat, bool accumulate,
              const __grid_constant__ Layout<2> l) {
  constexpr int unroll = 4;
  const index_t step = index_t{gridDim.x} * threads * unroll;
  for (index_t k = index_t{blockIdx.x} * threads * unroll + threadIdx.x; k < packs; k += step) {
    Pack<T, N> x[unroll], old[unroll];
    index_t to[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (k + u * threads >= packs) continue;
      index_t at[2];
      l.locate(k + u * threads, at);
      to[u] = at[1];
      if (splat) {
        const T value = src[at[0]];
#pragma unroll
        for (int j = 0; j < N; ++j) x[u].v[j] = value;
      } else {
        x[u] = load_pack<N>(src + at[0]);
      }
      if (accumulate) old[u] = load_pack<N>(dst + at[1]);
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (k + u * threads >= packs) continue;
      if (accumulate) add_to(x[u], old[u]);
      store_pack<N>(dst + to[u], x[u]);
    }
  }
}

constexpr int tile = 32;

/// A plane that is contiguous along `rows` in the source and along `cols` in the destination.
struct Plane {
  index_t rows, cols, src_col, dst_row;
  index_t row_tiles, col_tiles, tiles;  ///< `tiles` over all planes
};

template <class T>
__global__ void __launch_bounds__(threads)
    copy_transposed(const T* src, T* dst, Plane p, bool accumulate,
                    const __grid_constant__ Layout<2> outer) {
  __shared__ T part[tile][tile + 1];  // [col][row]; the odd pitch spreads a row over the banks
  const int lane = threadIdx.x % tile, first = threadIdx.x / tile;
  for (index_t t = blockIdx.x; t < p.tiles; t += gridDim.x) {
    const index_t plane = t / (p.row_tiles * p.col_tiles);
    const index_t inside = t - plane * (p.row_tiles * p.col_tiles);
    const index_t row = inside / p.col_tiles * tile, col = inside % p.col_tiles * tile;
    index_t at[2];
    outer.locate(plane, at);
#pragma unroll
    for (int k = 0; k < tile; k += threads / tile) {
      const int j = first + k;
      if (row + lane < p.rows && col + j < p.cols)
        part[j][lane] = src[at[0] + (row + lane) + (col + j) * p.src_col];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < tile; k += threads / tile) {
      const int i = first + k;
      if (row + i < p.rows && col + lane < p.cols) {
        T* y = dst + at[1] + (row + i) * p.dst_row + (col + lane);
        if (accumulate)
          *y = from_compute<T>(to_compute(*y) + to_compute(part[lane][i]));
        else
          *y = part[lane][i];
      }
    }
    __syncthreads();  // before the next tile is written
  }
}

unsigned grid_of(index_t blocks) {
  return static_cast<unsigned>(blocks < 0x7fffffff ? blocks : 0x7fffffff);
}

template <class T, int N>
void launch_rows(const CopyParams<T>& p, Layout<2> l, bool splat) {
  l.group_last(N);
  const index_t packs = l.finish().numel();
  copy_rows<T, N><<<grid_of(ceil_div(packs, threads * 4)), threads, 0, stream()>>>(
      p.src, p.dst, packs, splat, p.accumulate, l);
  check_launch("copy_rows");
}

/// The axis, not the last, along which the source is contiguous; −1 if tiles would not help.
int transposed_axis(const Layout<2>& l) {
  const int last = l.rank - 1;
  if (l.stride[1][last] != 1 || l.stride[0][last] <= 1 || l.extent[last] < 4) return -1;
  for (int a = 0; a < last; ++a)
    if (l.stride[0][a] == 1 && l.extent[a] >= 4) return a;
  return -1;
}

template <class T>
void launch_transposed(const CopyParams<T>& p, const Layout<2>& l, int across) {
  const int last = l.rank - 1;
  Layout<2> outer = l.without(last).without(across);
  Plane plane{l.extent[across], l.extent[last], l.stride[0][last], l.stride[1][across], 0, 0, 0};
  plane.row_tiles = ceil_div(plane.rows, tile);
  plane.col_tiles = ceil_div(plane.cols, tile);
  plane.tiles = outer.finish().numel() * plane.row_tiles * plane.col_tiles;
  copy_transposed<T>
      <<<grid_of(plane.tiles), threads, 0, stream()>>>(p.src, p.dst, plane, p.accumulate, outer);
  check_launch("copy_transposed");
}

/// The order of the axes does not matter to a copy, so the destination's longest runs go last.
template <class T>
Layout<2> layout_of(const CopyParams<T>& p) {
  int order[max_rank];
  const int rank = p.shape.rank();
  const index_t *extent = p.shape.begin(), *from = p.src_strides.begin(),
                *to = p.dst_strides.begin();
  for (int a = 0; a < rank; ++a) {
    int i = a;
    for (; i > 0 && to[order[i - 1]] < to[a]; --i) order[i] = order[i - 1];
    order[i] = a;
  }
  Layout<2> l;
  for (int i = 0; i < rank; ++i) l.append(extent[order[i]], {from[order[i]], to[order[i]]});
  if (l.rank == 0) {  // one element
    l.rank = 1, l.extent[0] = 1;
    l.stride[0][0] = l.stride[1][0] = 1;
  }
  return l;
}

}  // namespace

template <class T>
void copy(const CopyParams<T>& p) {
  if (p.shape.numel() == 0) return;
  constexpr int N = pack_width<T>;
  const Layout<2> l = layout_of(p);
  const int last = l.rank - 1;
  if (l.rank == 1 && l.stride[0][0] == 1 && l.stride[1][0] == 1) {
    if (p.accumulate)
      launch_elementwise<N>(CopyRun<T, true>{p.src, p.dst}, l.extent[0], "copy", p.src, p.dst);
    else
      launch_elementwise<N>(CopyRun<T, false>{p.src, p.dst}, l.extent[0], "copy", p.src, p.dst);
    return;
  }
  if (const int across = transposed_axis(l); across >= 0) return launch_transposed(p, l, across);

  const bool splat = l.stride[0][last] == 0;
  const auto fits = [&](int n) {
    const auto aligned = [n](const T* x) {
      return reinterpret_cast<std::uintptr_t>(x) % (static_cast<unsigned>(n) * sizeof(T)) == 0;
    };
    return l.packs(0, n, true) && l.packs(1, n) && (splat || aligned(p.src)) && aligned(p.dst);
  };
  if (fits(N))
    launch_rows<T, N>(p, l, splat);
  else if (N > 2 && fits(2))
    launch_rows<T, 2>(p, l, splat);
  else
    launch_rows<T, 1>(p, l, false);
}

template void copy(const CopyParams<float>&);
template void copy(const CopyParams<double>&);
template void copy(const CopyParams<bf16>&);

}  // namespace flr::cuda
