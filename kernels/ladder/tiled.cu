// Step 2: still one thread a row, but the block reads the columns together, a tile at a time, into
// shared memory, and one walk is enough.
//
// Three ideas, each of which stays until the end of the ladder:
//   Tiles. 128 rows use what was loaded once. All threads read the same column at the same time,
//   which shared memory answers in one go (a broadcast, no bank conflict).
//   The running maximum (online softmax). A row keeps the largest score so far, m. When a larger
//   one comes, what was added up relative to the old m is multiplied by 2^(m_old − m_new). So
//   scores are computed once, and their exponentials too. Eight columns are scored before m is
//   looked at. Splits. Encode has few rows: its columns are cut into splits, each for blocks of its
//   own, whose parts are merged in order (parts.cuh).
//
// Left to do: a score takes 2 D multiply-adds, 32 at D = 16, while its exponential takes the time
// of eight. The tensor cores do these products for nearly nothing.
#include "ladder/parts.cuh"

namespace flr::cuda::ladder {
namespace {

constexpr int threads = 128, tile = 128;
constexpr int together = 8;  ///< columns scored before the maximum is raised

/// A column or value as float, into shared memory; zeros where there is none.
template <int D>
__device__ void load_column(float (&to)[D], const bf16* from, bool exists) {
  for (int d = 0; d < D; ++d) to[d] = exists ? to_compute(from[d]) : 0.f;
}

template <int D>
struct Running {
  float top = -INFINITY, sum = 0, out[D] = {};

  /// Columns c … c + together − 1 of the tile; those from n on do not exist.
  __device__ void add(const float (&row)[D], const float (&column)[tile][D],
                      const float (&value)[tile][D], int c, int n) {
    float s[together], raised = top;
#pragma unroll
    for (int x = 0; x < together; ++x) {
      s[x] = 0;
#pragma unroll
      for (int d = 0; d < D; ++d) s[x] = fmaf(row[d], column[c + x][d], s[x]);
      if (c + x >= n) s[x] = -INFINITY;  // a weight of 2^−∞ = 0
      raised = fmaxf(raised, s[x]);
    }
    const float factor = exp2_fast(top - raised);  // 0 for the first columns, 1 as a rule
    top = raised;
    sum *= factor;
#pragma unroll
    for (int d = 0; d < D; ++d) out[d] *= factor;
#pragma unroll
    for (int x = 0; x < together; ++x) {
      const float weight = exp2_fast(s[x] - top);
      sum += weight;
#pragma unroll
      for (int d = 0; d < D; ++d) out[d] = fmaf(weight, value[c + x][d], out[d]);
    }
  }
};

template <int D>
__global__ void __launch_bounds__(threads) tiled_kernel(Hop p, Parts<D> parts) {
  __shared__ float column[tile][D], value[tile][D];
  const int h = int(blockIdx.y), split = int(blockIdx.z);
  const index_t i = index_t{blockIdx.x} * threads + threadIdx.x;
  const bool exists = i < p.rows;  // a thread without a row still helps to load
  float row[D];
#pragma unroll
  for (int d = 0; d < D; ++d) row[d] = exists ? to_compute(p.row.at(h, i)[d]) * log2_e : 0.f;

  Running<D> state;
  const index_t end = first_column(p, split + 1, parts.splits);
  for (index_t j = first_column(p, split, parts.splits); j < end; j += tile) {
    const index_t mine = j + threadIdx.x;
    __syncthreads();  // everybody is done with the last tile
    load_column<D>(column[threadIdx.x], p.column.at(h, mine), mine < end);
    load_column<D>(value[threadIdx.x], p.value.at(h, mine), mine < end);
    __syncthreads();
    const int n = end - j < tile ? int(end - j) : tile;
    for (int c = 0; c < n; c += together) state.add(row, column, value, c, n);
  }
  if (!exists) return;
  if (parts.splits == 1) {
    for (int d = 0; d < D; ++d) p.out.at(h, i)[d] = from_compute<bf16>(state.out[d] / state.sum);
  } else {
    float* part = parts.at(p, h, split, i);
    for (int d = 0; d < D; ++d) part[d] = state.out[d];
    part[D] = state.top, part[D + 1] = state.sum;
  }
}

}  // namespace

void tiled(const Hop& p) {
  static_assert(threads == tile, "a thread loads one column");
  with_width(p.D, [&]<int D>() {
    const index_t blocks = ceil_div(p.rows, threads);
    const int splits = splits_for(p, blocks * p.H, 4 * tile);
    const Scratch<float> memory(splits == 1 ? 0 : p.H * splits * p.rows * Parts<D>::width);
    const Parts<D> parts{memory, splits};
    const dim3 grid(unsigned(blocks), unsigned(p.H), unsigned(splits));
    tiled_kernel<D><<<grid, threads, 0, stream()>>>(p, parts);
    check_launch("ladder, tiled");
    if (splits > 1) merge(p, parts);
  });
}

}  // namespace flr::cuda::ladder
