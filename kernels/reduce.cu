// y[kept…] = scale · Σ or max over the reduced axes of x. Bound by reading x once.
//
// Axes are merged, the reduced ones longest stride first; then one of
//   along     the reduced axes are the contiguous ones (or nothing is): 1, 4, 32 or 256 threads a
//             result, and several blocks where results are few;
//   across    results lie side by side, as in the sum of a matrix's rows: a thread owns a pack of
//             columns, the rows of a block are joined in shared memory, and rows are cut into
//             pieces so that the chip is full;
//   narrow    the same with few rows or very many columns: a thread forms its columns alone.
// A thread adds at most 16 values (times the pack) in the compute type before they join a double,
// so a float sum is as good as its inputs however long it is. Pieces follow from the sizes alone
// and are joined in order: the bits do not depend on timing.
#include "common/elementwise.cuh"
#include "common/layout.cuh"
#include "table.hpp"

namespace flr::cuda {

namespace {

constexpr int threads = 256;
constexpr int unroll = 4;             ///< packs that a thread has in flight
constexpr index_t many_items = 2048;  ///< blocks that fill any chip several times

struct Sum {
  template <class C>
  __device__ static C identity() {
    return C(0);
  }
  template <class C>
  __device__ static C join(C a, C b) {
    return a + b;
  }
  __device__ static double scaled(double x, double scale) { return x * scale; }
};
struct Max {
  template <class C>
  __device__ static C identity() {
    return -C(INFINITY);
  }
  /// NaN once there was one.
  template <class C>
  __device__ static C join(C a, C b) {
    return a > b || a != a ? a : b;
  }
  __device__ static double scaled(double x, double) { return x; }
};

/// Where results go: to y, or, as one piece of several, to part[piece, result].
template <class T>
struct Sink {
  T* y;
  double* part;
  index_t results;
  double scale;
  bool accumulate;

  template <class Op>
  __device__ void finish(index_t i, double value) const {
    value = Op::scaled(value, scale);
    if (accumulate) value = Op::join(static_cast<double>(to_compute(y[i])), value);
    y[i] = from_compute<T>(static_cast<compute_t<T>>(value));
  }
  template <class Op>
  __device__ void put(index_t i, index_t piece, double value) const {
    if (part)
      part[piece * results + i] = value;
    else
      finish<Op>(i, value);
  }
};

/// Reduces elements first, first + step, … (in packs, below `end`) of one result: x + offset of the
/// pack in `l`.
template <class Op, class T, int N>
__device__ double reduce_packs(const T* x, const Layout<1>& l, index_t first, index_t end,
                               index_t step) {
  using C = compute_t<T>;
  double total = Op::template identity<double>();
  for (index_t k = first; k < end; k += step * unroll) {
    Pack<T, N> in[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      index_t at[1];
      if (k + u * step >= end) continue;
      l.locate(k + u * step, at);
      in[u] = load_pack<N>(x + at[0]);
    }
    C sum = Op::template identity<C>();
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (k + u * step >= end) continue;
#pragma unroll
      for (int j = 0; j < N; ++j) sum = Op::join(sum, to_compute(in[u].v[j]));
    }
    total = Op::join(total, static_cast<double>(sum));
  }
  return total;
}

/// `Group` threads for every (piece, result); packs of a result lie in `reduced`.
template <class Op, class T, int N, int Group>
__global__ void __launch_bounds__(threads)
    reduce_along(const T* x, index_t packs, index_t piece_packs, index_t items, Sink<T> sink,
                 const __grid_constant__ Layout<1> kept,
                 const __grid_constant__ Layout<1> reduced) {
  const index_t item = (index_t{blockIdx.x} * threads + threadIdx.x) / Group;
  const int lane = threadIdx.x % Group;
  const bool active = item < items;  // the others must be there for the shuffles
  const index_t piece = active ? item / sink.results : 0;
  const index_t result = active ? item - piece * sink.results : 0;
  double total = Op::template identity<double>();
  if (active) {
    index_t at[1];
    kept.locate(result, at);
    const index_t begin = piece * piece_packs;
    const index_t end = begin + piece_packs < packs ? begin + piece_packs : packs;
    total = reduce_packs<Op, T, N>(x + at[0], reduced, begin + lane, end, Group);
  }
#pragma unroll
  for (int d = (Group < 32 ? Group : 32) / 2; d > 0; d /= 2)
    total = Op::join(total, __shfl_xor_sync(0xffffffffu, total, d));
  if constexpr (Group > 32) {
    __shared__ double part[Group / 32];
    if (lane % 32 == 0) part[lane / 32] = total;
    __syncthreads();
    total = part[0];
#pragma unroll
    for (int w = 1; w < Group / 32; ++w) total = Op::join(total, part[w]);
  }
  if (active && lane == 0) sink.template put<Op>(result, piece, total);
}

/// What reduce_across and reduce_narrow walk: `packs` packs of columns side by side.
struct Columns {
  index_t packs, rows, piece_rows, tiles, pieces;
};

/// A block of Wide × (threads / Wide) threads takes Wide packs of columns and one piece of the
/// rows.
template <class Op, class T, int N>
__global__ void __launch_bounds__(threads)
    reduce_across(const T* x, Columns c, int wide, index_t items, Sink<T> sink,
                  const __grid_constant__ Layout<1> outer,
                  const __grid_constant__ Layout<1> reduced) {
  using C = compute_t<T>;
  __shared__ double part[N][threads];
  const int column = threadIdx.x % wide, row = threadIdx.x / wide, tall = threads / wide;
  for (index_t item = blockIdx.x; item < items; item += gridDim.x) {
    const index_t tile = item % c.tiles, rest = item / c.tiles;
    const index_t piece = rest % c.pieces, place = rest / c.pieces;
    const index_t pack = tile * wide + column;
    double total[N];
#pragma unroll
    for (int j = 0; j < N; ++j) total[j] = Op::template identity<double>();
    if (pack < c.packs) {
      index_t at[1];
      outer.locate(place, at);
      const T* from = x + at[0] + pack * N;
      const index_t begin = piece * c.piece_rows;
      const index_t end = begin + c.piece_rows < c.rows ? begin + c.piece_rows : c.rows;
      for (index_t r = begin + row; r < end; r += tall * unroll) {
        Pack<T, N> in[unroll];
#pragma unroll
        for (int u = 0; u < unroll; ++u) {
          if (r + u * tall >= end) continue;
          reduced.locate(r + u * tall, at);
          in[u] = load_pack<N>(from + at[0]);
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
          C sum = Op::template identity<C>();
#pragma unroll
          for (int u = 0; u < unroll; ++u)
            if (r + u * tall < end) sum = Op::join(sum, to_compute(in[u].v[j]));
          total[j] = Op::join(total[j], static_cast<double>(sum));
        }
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) part[j][threadIdx.x] = total[j];
    __syncthreads();
    for (int half = tall / 2; half > 0; half /= 2) {
      if (row < half) {
#pragma unroll
        for (int j = 0; j < N; ++j)
          part[j][threadIdx.x] = Op::join(part[j][threadIdx.x], part[j][threadIdx.x + half * wide]);
      }
      __syncthreads();
    }
    if (row == 0 && pack < c.packs) {
      const index_t result = (place * c.packs + pack) * N;
#pragma unroll
      for (int j = 0; j < N; ++j) sink.template put<Op>(result + j, piece, part[j][threadIdx.x]);
    }
    __syncthreads();  // before `part` is written again
  }
}

/// A thread forms N neighbouring results; `kept` counts packs.
template <class Op, class T, int N>
__global__ void __launch_bounds__(threads)
    reduce_narrow(const T* x, index_t packs, index_t rows, Sink<T> sink,
                  const __grid_constant__ Layout<1> kept,
                  const __grid_constant__ Layout<1> reduced) {
  using C = compute_t<T>;
  const index_t step = index_t{gridDim.x} * threads;
  for (index_t k = index_t{blockIdx.x} * threads + threadIdx.x; k < packs; k += step) {
    index_t at[1];
    kept.locate(k, at);
    const T* from = x + at[0];
    double total[N];
#pragma unroll
    for (int j = 0; j < N; ++j) total[j] = Op::template identity<double>();
    for (index_t r = 0; r < rows; r += unroll) {
      Pack<T, N> in[unroll];
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        if (r + u >= rows) continue;
        reduced.locate(r + u, at);
        in[u] = load_pack<N>(from + at[0]);
      }
#pragma unroll
      for (int j = 0; j < N; ++j) {
        C sum = Op::template identity<C>();
#pragma unroll
        for (int u = 0; u < unroll; ++u)
          if (r + u < rows) sum = Op::join(sum, to_compute(in[u].v[j]));
        total[j] = Op::join(total[j], static_cast<double>(sum));
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) sink.template put<Op>(k * N + j, 0, total[j]);
  }
}

/// Joins the pieces of 32 results: warp w takes pieces w, w + 32, …; then the warps are joined.
template <class Op, class T>
__global__ void __launch_bounds__(1024) merge_pieces(Sink<T> sink, index_t pieces) {
  __shared__ double part[32][33];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (index_t first = index_t{blockIdx.x} * 32; first < sink.results;
       first += index_t{gridDim.x} * 32) {
    const index_t result = first + lane;
    double total = Op::template identity<double>();
    if (result < sink.results) {
#pragma unroll 4
      for (index_t p = warp; p < pieces; p += 32)
        total = Op::join(total, sink.part[p * sink.results + result]);
    }
    part[warp][lane] = total;
    __syncthreads();
    for (int half = 16; half > 0; half /= 2) {
      if (warp < half) part[warp][lane] = Op::join(part[warp][lane], part[warp + half][lane]);
      __syncthreads();
    }
    if (warp == 0 && result < sink.results) sink.template finish<Op>(result, part[0][lane]);
    __syncthreads();
  }
}

unsigned grid_of(index_t blocks) {
  return static_cast<unsigned>(blocks < 0x7fffffff ? blocks : 0x7fffffff);
}

template <class Op, class T>
void merge(const Sink<T>& sink, index_t pieces) {
  merge_pieces<Op><<<grid_of(ceil_div(sink.results, 32)), 1024, 0, stream()>>>(sink, pieces);
  check_launch("reduce_merge");
}

/// How many pieces of at least `least` units fill the chip when there are `items` without pieces.
index_t pieces_for(index_t units, index_t least, index_t items) {
  const index_t most = ceil_div(units, least), wanted = ceil_div(many_items, items);
  const index_t pieces = most < wanted ? most : wanted;
  return pieces > 1 ? pieces : 1;
}

template <class Op, class T, int N>
void launch_along(const T* x, Sink<T> sink, Layout<1> kept, Layout<1> reduced) {
  if constexpr (N > 1) reduced.group_last(N);
  const index_t packs = reduced.finish().numel();
  kept.finish();
  const index_t wanted = pieces_for(packs, index_t{threads} * unroll * 2, sink.results);
  const index_t piece_packs = packs > 0 ? ceil_div(packs, wanted) : 1;
  const index_t pieces = packs > 0 ? ceil_div(packs, piece_packs) : 1;
  const index_t items = sink.results * pieces;
  const Scratch<double> part(pieces > 1 ? items : 1);
  if (pieces > 1) sink.part = part.data();
  const auto launch = [&](auto kernel, int group) {
    kernel<<<grid_of(ceil_div(items, threads / group)), threads, 0, stream()>>>(
        x, packs, piece_packs, items, sink, kept, reduced);
    check_launch("reduce_along");
  };
  if (piece_packs <= 2)
    launch(reduce_along<Op, T, N, 1>, 1);
  else if (piece_packs <= 8)
    launch(reduce_along<Op, T, N, 4>, 4);
  else if (piece_packs <= 512)
    launch(reduce_along<Op, T, N, 32>, 32);
  else
    launch(reduce_along<Op, T, N, 256>, 256);
  if (pieces > 1) merge<Op>(sink, pieces);
}

template <class Op, class T, int N>
void launch_across(const T* x, Sink<T> sink, Layout<1> kept, Layout<1> reduced) {
  const index_t rows = reduced.finish().numel();
  const int last = kept.rank - 1;
  if (rows <= 8 || sink.results / N >= many_items * threads) {
    if constexpr (N > 1) kept.group_last(N);
    const index_t packs = kept.finish().numel();
    reduce_narrow<Op, T, N><<<grid_of(ceil_div(packs, threads)), threads, 0, stream()>>>(
        x, packs, rows, sink, kept, reduced);
    check_launch("reduce_narrow");
    return;
  }
  Columns c{kept.extent[last] / N, rows, 0, 0, 0};
  int wide = 1;
  while (wide < 32 && wide < c.packs) wide *= 2;
  const int tall = threads / wide;
  c.tiles = ceil_div(c.packs, wide);
  Layout<1> outer = kept.without(last);
  const index_t places = outer.finish().numel() * c.tiles;
  c.piece_rows = ceil_div(rows, pieces_for(rows, index_t{tall} * unroll * 2, places));
  c.pieces = ceil_div(rows, c.piece_rows);
  const index_t items = places * c.pieces;
  const Scratch<double> part(c.pieces > 1 ? sink.results * c.pieces : 1);
  if (c.pieces > 1) sink.part = part.data();
  reduce_across<Op, T, N>
      <<<grid_of(items), threads, 0, stream()>>>(x, c, wide, items, sink, outer, reduced);
  check_launch("reduce_across");
  if (c.pieces > 1) merge<Op>(sink, c.pieces);
}

template <class Op, class T>
void reduce_by(const ReduceParams<T>& p) {
  Layout<1> kept, reduced;
  const auto append = [](Layout<1>& l, index_t n, index_t stride) {
    const index_t strides[1] = {stride};
    l.append(n, strides);
  };
  for (int a = 0; a < p.kept.rank(); ++a)
    append(kept, p.kept.begin()[a], p.kept_strides.begin()[a]);
  // The order of the reduced axes is free: longest strides outside, so that runs are contiguous.
  int order[max_rank];
  const index_t* stride = p.reduced_strides.begin();
  for (int a = 0; a < p.reduced.rank(); ++a) {
    int i = a;
    for (; i > 0 && stride[order[i - 1]] < stride[a]; --i) order[i] = order[i - 1];
    order[i] = a;
  }
  for (int i = 0; i < p.reduced.rank(); ++i)
    append(reduced, p.reduced.begin()[order[i]], stride[order[i]]);
  const index_t results = kept.numel();
  if (results == 0) return;

  constexpr int N = pack_width<T>;
  const Sink<T> sink{p.y, nullptr, results, static_cast<double>(p.scale), p.accumulate};
  const auto divisible = [](const Layout<1>& l) {  // packs may start at each of these strides
    for (int a = 0; a < l.rank; ++a)
      if (l.stride[0][a] % N != 0) return false;
    return true;
  };
  const bool across = kept.rank > 0 && reduced.rank > 0 && reduced.numel() > 0 &&
                      kept.stride[0][kept.rank - 1] == 1 &&
                      reduced.stride[0][reduced.rank - 1] != 1;
  const bool aligned = packs_fit<N>(p.x);
  if (across) {
    if (aligned && kept.packs(0, N) && divisible(reduced))
      launch_across<Op, T, N>(p.x, sink, kept, reduced);
    else
      launch_across<Op, T, 1>(p.x, sink, kept, reduced);
  } else {
    if (aligned && reduced.packs(0, N) && divisible(kept))
      launch_along<Op, T, N>(p.x, sink, kept, reduced);
    else
      launch_along<Op, T, 1>(p.x, sink, kept, reduced);
  }
}

}  // namespace

/// A sum is added to y if p.accumulate; a maximum is taken with y. A maximum over nothing is −∞.
template <class T>
void reduce(const ReduceParams<T>& p) {
  if (p.kind == Reduction::sum)
    reduce_by<Sum>(p);
  else
    reduce_by<Max>(p);
}

template void reduce(const ReduceParams<float>&);
template void reduce(const ReduceParams<double>&);
template void reduce(const ReduceParams<bf16>&);

}  // namespace flr::cuda
