// y[kept…] = scale · Σ or max over the reduced axes of x. Bound by reading x once.
//
// Axes are merged, the reduced ones longest stride first; then one of
//   along     the reduced axes are the contiguous ones (or nothing is): 1, 4, 32 or 256 threads a
//             result, and several blocks where results are few;
//   across    results lie side by side, as in the sum of a matrix's rows: a thread owns a pack of
//             columns, the rows of a block are joined in shared memory, and rows are cut into
//             pieces so that the chip is full;
//   narrow    the same with few rows or very many columns: a thread forms its columns alone.
// Where the reduced axes are one, as nearly always, its rows are evenly apart: finding them costs nothing,
// and a thread of the last two reads more of them at once.
// A thread adds at most 16 values (times the pack) in the compute type before they join a double,
// so a float sum is as good as its inputs however long it is. Pieces follow from the sizes alone
// and are joined in order: the bits do not depend on timing.
#include "common/elementwise.cuh"
#include "common/layout.cuh"
#include "common/reduction.cuh"
#include "table.hpp"

namespace flr::cuda {

namespace {

constexpr int threads = 256;
constexpr int unroll = 4;             ///< packs that a thread has in flight
constexpr index_t many_items = 2048;  ///< blocks that fill any chip several times
/// reduce_narrow's blocks, small ones, since often there are few; up to how many rows it is meant for
/// where that many packs of columns give it enough threads for the memory.
constexpr int narrow_threads = 128;
constexpr index_t narrow_rows = 64, narrow_packs = 16384;

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

/// Joins rows r, r + step, … of N columns into `total`, as many as there are loads, and unless all are
/// `There` those below `end` only. `Even` rows lie at one stride.
template <class Op, bool Even, int Loads, bool There, class T, int N>
__device__ void join_rows(const T* x, const Layout<1>& reduced, index_t r, index_t end, index_t step,
                          double (&total)[N]) {
  using C = compute_t<T>;
  Pack<T, N> in[Loads];
#pragma unroll
  for (int u = 0; u < Loads; ++u) {
    if (!There && r + u * step >= end) continue;
    index_t at[1] = {(r + u * step) * reduced.stride[0][0]};
    if constexpr (!Even) reduced.locate(r + u * step, at);
    in[u] = load_pack<N>(x + at[0]);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    C sum = Op::template identity<C>();
#pragma unroll
    for (int u = 0; u < Loads; ++u)
      if (There || r + u * step < end) sum = Op::join(sum, to_compute(in[u].v[j]));
    total[j] = Op::join(total[j], static_cast<double>(sum));
  }
}

/// Rows first, first + step, … (below `end`) of N columns, joined.
template <class Op, bool Even, int Loads, class T, int N>
__device__ void reduce_rows(const T* x, const Layout<1>& reduced, index_t first, index_t end,
                            index_t step, double (&total)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) total[j] = Op::template identity<double>();
  index_t r = first;
  if constexpr (Even)
    for (; r + (Loads - 1) * step < end; r += Loads * step)
      join_rows<Op, Even, Loads, true>(x, reduced, r, end, step, total);
  constexpr int rest = Loads < 2 * unroll ? Loads : 2 * unroll;
  for (; r < end; r += rest * step) join_rows<Op, Even, rest, false>(x, reduced, r, end, step, total);
}

/// What reduce_across walks: `packs` packs of columns side by side, `wide` of them a tile.
struct Columns {
  index_t packs, rows, piece_rows;
  unsigned tiles, pieces;
  int wide;
};

/// A block of wide × (threads / wide) threads takes a tile of columns and one piece of the rows.
template <class Op, class T, int N, bool Even>
__global__ void __launch_bounds__(threads)
    reduce_across(const T* x, const __grid_constant__ Columns c, Sink<T> sink,
                  const __grid_constant__ Layout<1> outer,
                  const __grid_constant__ Layout<1> reduced) {
  __shared__ double part[N][threads];
  const int column = threadIdx.x % c.wide, row = threadIdx.x / c.wide, tall = threads / c.wide;
  const unsigned tile = blockIdx.x % c.tiles, rest = blockIdx.x / c.tiles;
  const index_t piece = rest % c.pieces, place = rest / c.pieces;
  const index_t pack = index_t{tile} * c.wide + column;
  if (pack < c.packs) {
    index_t at[1];
    outer.locate(place, at);
    const index_t begin = piece * c.piece_rows;
    const index_t end = begin + c.piece_rows < c.rows ? begin + c.piece_rows : c.rows;
    double total[N];
    reduce_rows<Op, Even, Even ? 2 * unroll : unroll>(x + at[0] + pack * N, reduced, begin + row, end,
                                                      tall, total);
#pragma unroll
    for (int j = 0; j < N; ++j) part[j][threadIdx.x] = total[j];
  }
  for (int half = tall / 2; half > 0; half /= 2) {
    __syncthreads();
    if (row < half && pack < c.packs) {
#pragma unroll
      for (int j = 0; j < N; ++j)
        part[j][threadIdx.x] = Op::join(part[j][threadIdx.x], part[j][threadIdx.x + half * c.wide]);
    }
  }
  if (row > 0 || pack >= c.packs) return;
  double total[N];
#pragma unroll
  for (int j = 0; j < N; ++j) total[j] = part[j][threadIdx.x];
  sink.template put_pack<Op>((place * c.packs + pack) * N, piece, total);
}

/// A thread forms N neighbouring results; `kept` counts packs.
template <class Op, class T, int N, bool Even, int Loads>
__global__ void __launch_bounds__(narrow_threads)
    reduce_narrow(const T* x, index_t packs, index_t rows, Sink<T> sink,
                  const __grid_constant__ Layout<1> kept,
                  const __grid_constant__ Layout<1> reduced) {
  const index_t k = index_t{blockIdx.x} * narrow_threads + threadIdx.x;
  if (k >= packs) return;
  index_t at[1];
  kept.locate(k, at);
  double total[N];
  reduce_rows<Op, Even, Loads>(x + at[0], reduced, 0, rows, 1, total);
  sink.template put_pack<Op>(k * N, 0, total);
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
void launch_narrow(const T* x, index_t rows, Sink<T> sink, Layout<1> kept, const Layout<1>& reduced) {
  if constexpr (N > 1) kept.group_last(N);
  const index_t packs = kept.finish().numel();
  const auto launch = [&](auto kernel) {
    kernel<<<grid_of(ceil_div(packs, narrow_threads)), narrow_threads, 0, stream()>>>(
        x, packs, rows, sink, kept, reduced);
    check_launch("reduce_narrow");
  };
  if (reduced.rank > 1)
    launch(reduce_narrow<Op, T, N, false, unroll>);
  else if (rows <= 2 * unroll)
    launch(reduce_narrow<Op, T, N, true, unroll>);
  else
    launch(reduce_narrow<Op, T, N, true, 4 * unroll>);
}

template <class Op, class T, int N>
void launch_across(const T* x, Sink<T> sink, Layout<1> kept, Layout<1> reduced) {
  const index_t rows = reduced.finish().numel(), packs = sink.results / N;
  const bool even = reduced.rank <= 1;
  if (rows <= 2 * unroll || packs >= many_items * threads ||
      (even && rows <= narrow_rows && packs >= narrow_packs))
    return launch_narrow<Op, T, N>(x, rows, sink, kept, reduced);
  const int last = kept.rank - 1;
  int wide = 1;
  while (wide < 32 && wide < kept.extent[last] / N) wide *= 2;
  Columns c{kept.extent[last] / N, rows, 0, 0, 0, wide};
  c.tiles = static_cast<unsigned>(ceil_div(c.packs, wide));
  Layout<1> outer = kept.without(last);
  const index_t places = outer.finish().numel() * c.tiles, least = index_t{threads / wide} * unroll * 2;
  c.piece_rows = ceil_div(rows, pieces_for(rows, least, places));
  c.pieces = static_cast<unsigned>(ceil_div(rows, c.piece_rows));
  const Scratch<double> part(c.pieces > 1 ? sink.results * c.pieces : 1);
  if (c.pieces > 1) sink.part = part.data(), sink.packed = false;
  // Fewer blocks than packs, or than twice many_items.
  const unsigned blocks = static_cast<unsigned>(places) * c.pieces;
  const auto launch = [&](auto kernel) {
    kernel<<<blocks, threads, 0, stream()>>>(x, c, sink, outer, reduced);
    check_launch("reduce_across");
  };
  if (even)
    launch(reduce_across<Op, T, N, true>);
  else
    launch(reduce_across<Op, T, N, false>);
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
  const Sink<T> sink{p.y, nullptr, results, static_cast<double>(p.scale), p.accumulate,
                    packs_fit<N>(p.y)};
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
