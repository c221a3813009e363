// Rows of a table, and their gradient.
//
//   y[r,:] = table[index[r],:];   dtable[index[r],:] += dy[r,:]
//
// Bound by memory. The gradient sorts (index, row) stably, so that the rows of an entry lie
// together and in order. The sorted list is cut into tiles of 64, a warp a tile and 32 columns: an
// entry that begins and ends within a tile is written at once; what reaches over a tile's edge is
// kept (`head`: begun in an earlier tile, `tail`: begun here) and added in order by a second
// launch, which also zeroes the entries that no row names. A frequent entry is thus spread over
// many warps, and the order of its sum depends on the index only. An index outside the table gives
// NaN, and no gradient.
#include "common/rows.cuh"
#include "sort_pairs.hpp"
#include "table.hpp"

namespace flr::cuda {
namespace {

constexpr int threads = 256, tile_rows = 64, tile_batch = 8;

/// A group of `lanes` threads (a power of two) copies a row.
template <int Width, class T>
__global__ void __launch_bounds__(threads) copy_entries(EmbeddingParams<T> p, int lanes) {
  using P = Pack<T, Width>;
  const int rows = threads / lanes;
  for (index_t row = index_t{blockIdx.x} * rows + int(threadIdx.x) / lanes; row < p.rows;
       row += index_t{gridDim.x} * rows) {
    const index_t entry = p.index[row];
    const bool valid = entry >= 0 && entry < p.entries;
    P nan;
#pragma unroll
    for (int v = 0; v < Width; ++v) nan.v[v] = from_compute<T>(compute_t<T>(NAN));
    for (index_t c = int(threadIdx.x) % lanes * Width; c < p.width; c += lanes * Width)
      *reinterpret_cast<P*>(p.y + row * p.width + c) =
          valid ? *reinterpret_cast<const P*>(p.table + entry * p.width + c) : nan;
  }
}

/// Rows without a gradient get the key `entries`, behind all others.
template <class T>
__global__ void __launch_bounds__(threads)
    entry_keys(EmbeddingBackwardParams<T> p, std::uint32_t* keys, std::uint32_t* rows) {
  for (index_t r = index_t{blockIdx.x} * threads + threadIdx.x; r < p.rows;
       r += index_t{gridDim.x} * threads) {
    const index_t e = p.index[r];
    keys[r] = std::uint32_t(e >= 0 && e < p.entries && e != p.padding ? e : p.entries);
    rows[r] = std::uint32_t(r);
  }
}

struct SortedRows {
  const std::uint32_t *keys, *rows;
  index_t n;
};

template <class T>
__global__ void __launch_bounds__(threads)
    sum_tiles(EmbeddingBackwardParams<T> p, SortedRows s, compute_t<T>* edges) {
  using C = compute_t<T>;
  const index_t groups = ceil_div(p.width, 32), tiles = ceil_div(s.n, tile_rows);
  const int lane = int(threadIdx.x) % 32, warps = threads / 32;
  for (index_t item = index_t{blockIdx.x} * warps + int(threadIdx.x) / 32; item < tiles * groups;
       item += index_t{gridDim.x} * warps) {
    const index_t tile = item / groups, c = item % groups * 32 + lane;
    const index_t begin = tile * tile_rows, end = begin + tile_rows;
    const bool mine = c < p.width;
    const std::uint32_t none = std::uint32_t(p.entries);
    const auto key_at = [&](index_t i) { return i >= 0 && i < s.n ? s.keys[i] : none; };
    C* const head = edges + tile * 2 * p.width;
    bool inherited = key_at(begin - 1) == key_at(begin);
    C sum = 0;
    for (index_t i = begin; i < end; i += tile_batch) {
      std::uint32_t key[tile_batch + 1];
      C value[tile_batch];
#pragma unroll
      for (int k = 0; k <= tile_batch; ++k) key[k] = key_at(i + k);
      if (key[0] == none) break;
#pragma unroll
      for (int k = 0; k < tile_batch; ++k)
        value[k] =
            mine && key[k] != none ? to_compute(p.dy[index_t{s.rows[i + k]} * p.width + c]) : C(0);
#pragma unroll
      for (int k = 0; k < tile_batch; ++k) {
        if (key[k] == none) break;
        sum += value[k];
        const bool goes_on = key[k] == key[k + 1];
        if (goes_on && i + k + 1 < end) continue;
        if (mine) {
          if (inherited || goes_on)
            head[(inherited ? 0 : p.width) + c] = sum;
          else
            put(p.dtable + index_t{key[k]} * p.width + c, sum, p.mode == GradMode::accumulate);
        }
        inherited = false;
        sum = 0;
      }
    }
  }
}

/// starts[e]: the first position whose key is not below e, for e = 0 … entries.
__global__ void __launch_bounds__(threads)
    find_starts(SortedRows s, index_t entries, std::uint32_t* starts) {
  for (index_t e = index_t{blockIdx.x} * threads + threadIdx.x; e <= entries;
       e += index_t{gridDim.x} * threads) {
    index_t low = 0, high = s.n;
    while (low < high) {
      const index_t middle = (low + high) / 2;
      if (s.keys[middle] < e)
        low = middle + 1;
      else
        high = middle;
    }
    starts[e] = std::uint32_t(low);
  }
}

/// A block per entry and 32 columns: nothing where one tile held all of the entry's rows, zeros
/// where it has none, else the tail of its first tile and the heads of the others. Warp w adds
/// every eighth of them, and the eight sums are added in order.
template <class T>
__global__ void __launch_bounds__(threads)
    sum_edges(EmbeddingBackwardParams<T> p, const std::uint32_t* starts,
              const compute_t<T>* edges) {
  using C = compute_t<T>;
  __shared__ C sums[threads / 32][32];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  const index_t groups = ceil_div(p.width, 32);
  for (index_t item = blockIdx.x; item < p.entries * groups; item += gridDim.x) {
    const index_t entry = item / groups, c = item % groups * 32 + lane;
    const index_t begin = starts[entry], end = starts[entry + 1];
    C* const out = p.dtable + entry * p.width + c;
    if (begin == end) {
      if (p.mode == GradMode::overwrite && warp == 0 && c < p.width) *out = 0;
      continue;
    }
    const index_t first = begin / tile_rows, last = (end - 1) / tile_rows;
    if (first == last) continue;
    C sum = 0;
    if (c < p.width) {
#pragma unroll 4
      for (index_t t = first + warp; t <= last; t += threads / 32)
        sum += edges[(t * 2 + (t == first)) * p.width + c];
    }
    __syncthreads();
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || c >= p.width) continue;
    C total = 0;
#pragma unroll
    for (int w = 0; w < threads / 32; ++w) total += sums[w][lane];
    put(out, total, p.mode == GradMode::accumulate);
  }
}

}  // namespace

template <class T>
void embedding(const EmbeddingParams<T>& p) {
  if (p.rows == 0 || p.width == 0) return;
  const bool packs = p.width % pack_width<T> == 0 && aligned_16(p.table, p.y);
  int lanes = 1;
  while (lanes < 32 && lanes * (packs ? pack_width<T> : 1) < p.width) lanes *= 2;
  const auto kernel = packs ? copy_entries<pack_width<T>, T> : copy_entries<1, T>;
  kernel<<<grid_for(p.rows, threads / lanes), threads, 0, stream()>>>(p, lanes);
  check_launch("embedding");
}

template <class T>
void embedding_backward(const EmbeddingBackwardParams<T>& p) {
  if (p.mode == GradMode::ignore || p.entries == 0 || p.width == 0) return;
  constexpr index_t most = (index_t{1} << 31) - 1;
  check(p.rows <= most && p.entries < most,
        "[embedding_backward] expected fewer than 2^31 rows and entries; got {} and {}", p.rows,
        p.entries);
  const Scratch<std::uint32_t> memory(4 * p.rows);
  std::uint32_t *keys = memory.data(), *sorted = keys + p.rows, *rows = sorted + p.rows;
  const SortedRows s{sorted, rows + p.rows, p.rows};
  const index_t groups = ceil_div(p.width, 32), tiles = ceil_div(p.rows, tile_rows);
  const Scratch<compute_t<T>> edges(tiles * 2 * p.width);
  if (p.rows > 0) {
    entry_keys<<<grid_for(p.rows, threads), threads, 0, stream()>>>(p, keys, rows);
    check_launch("embedding_backward keys");
    sort_pairs(keys, sorted, rows, rows + p.rows, p.rows, bits_for(p.entries));
    sum_tiles<<<grid_for(tiles * groups, threads / 32), threads, 0, stream()>>>(p, s, edges.data());
    check_launch("embedding_backward");
  }
  const Scratch<std::uint32_t> starts(p.entries + 1);
  find_starts<<<grid_for(p.entries + 1, threads), threads, 0, stream()>>>(s, p.entries, starts);
  check_launch("embedding_backward starts");
  sum_edges<<<grid_for(p.entries * groups, 1), threads, 0, stream()>>>(p, starts.data(),
                                                                       edges.data());
  check_launch("embedding_backward edges");
}

template void embedding(const EmbeddingParams<float>&);
template void embedding(const EmbeddingParams<double>&);
template void embedding(const EmbeddingParams<bf16>&);
template void embedding_backward(const EmbeddingBackwardParams<float>&);
template void embedding_backward(const EmbeddingBackwardParams<double>&);
template void embedding_backward(const EmbeddingBackwardParams<bf16>&);

}  // namespace flr::cuda
