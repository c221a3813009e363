// Sums over rows: sums[s,j] = Σ_r narrow[r,s] · wide[r,j], the weight gradient of a layer with few
// inputs or outputs, and Σ_r wide[r,j], the gradient of every bias.
//
// Bound by reading `wide` once. A block owns a stretch of rows and up to 256 packs of columns: as
// many threads as the row has packs stand side by side, the rest of the block takes the next rows.
// Threads sum their rows, a tree in shared memory sums the threads of a column, and sum_parts()
// the blocks. All orders depend on sizes only.
#include "../common/elementwise.cuh"
#include "parts.hpp"

namespace flr::cuda::dense {

namespace {

constexpr int threads = 256;

/// How a block stands over the matrix.
struct Cut {
  index_t rows = 0, cols = 0, rows_per_block = 0;
  int across = 1, down = 1;  ///< threads side by side, and rows at a time
  int row_blocks = 1, col_blocks = 1;

  Cut(index_t r, index_t c, int width) : rows(r), cols(c) {
    const index_t packs = c / width;
    across = static_cast<int>(packs < threads ? packs : threads);
    down = threads / across;
    col_blocks = static_cast<int>(ceil_div(packs, across));
    // 16 rows or more a thread, four where that leaves half of the chip idle; about 1024 blocks at
    // most.
    const index_t most = ceil_div(1024, col_blocks), few = ceil_div(64, col_blocks);
    const index_t deep = ceil_div(r, index_t{down} * 16), flat = ceil_div(r, index_t{down} * 4);
    const index_t wanted = deep > few ? deep : flat < few ? flat : few;
    rows_per_block = ceil_div(r, wanted < most ? wanted : most);
    row_blocks = static_cast<int>(ceil_div(r, rows_per_block));
  }
};

/// Terms = 0 sums wide itself; otherwise `terms` ≤ Terms.
template <class T, int Terms, int W>
__global__ void __launch_bounds__(threads)
    sums_kernel(Cut cut, int terms, const T* __restrict__ narrow_values, const T* __restrict__ wide,
                compute_t<T>* __restrict__ partials) {
  using C = compute_t<T>;
  constexpr int S = Terms > 0 ? Terms : 1;
  __shared__ C shared[threads * W];
  const int tx = threadIdx.x % cut.across, ty = threadIdx.x / cut.across;
  const index_t col = (index_t{blockIdx.y} * cut.across + tx) * W;
  const bool mine = ty < cut.down && col < cut.cols;
  const index_t begin = blockIdx.x * cut.rows_per_block, limit = begin + cut.rows_per_block;
  const index_t end = limit < cut.rows ? limit : cut.rows;

  C sum[S][W] = {};
  if (mine) {
#pragma unroll 4
    for (index_t r = begin + ty; r < end; r += cut.down) {
      const Pack<T, W> x = load_pack<W>(wide + r * cut.cols + col);
#pragma unroll
      for (int s = 0; s < S; ++s) {
        if constexpr (Terms == 0) {
#pragma unroll
          for (int e = 0; e < W; ++e) sum[s][e] += to_compute(x.v[e]);
        } else if (s < terms) {
          const C f = to_compute(narrow_values[r * terms + s]);
#pragma unroll
          for (int e = 0; e < W; ++e) sum[s][e] += f * to_compute(x.v[e]);
        }
      }
    }
  }
#pragma unroll
  for (int s = 0; s < S; ++s) {
    if (Terms > 0 && s >= terms) break;
    __syncthreads();
#pragma unroll
    for (int e = 0; e < W; ++e) shared[threadIdx.x * W + e] = sum[s][e];
    __syncthreads();
    for (int left = cut.down; left > 1;) {
      const int half = (left + 1) / 2;
      if (mine && ty + half < left)
#pragma unroll
        for (int e = 0; e < W; ++e)
          shared[threadIdx.x * W + e] += shared[(threadIdx.x + half * cut.across) * W + e];
      left = half;
      __syncthreads();
    }
    if (mine && ty == 0)
#pragma unroll
      for (int e = 0; e < W; ++e)
        partials[(index_t{blockIdx.x} * (Terms > 0 ? terms : 1) + s) * cut.cols + col + e] =
            shared[threadIdx.x * W + e];
  }
}

template <int Terms, int W, class T>
void launch(index_t rows, index_t terms, index_t cols, const T* narrow_values, const T* wide,
            compute_t<T>* sums, bool transposed, bool accumulate) {
  using C = compute_t<T>;
  const Cut cut(rows, cols, W);
  const index_t n = (terms > 0 ? terms : 1) * cols;
  Scratch<C> partials(cut.row_blocks * n);
  sums_kernel<T, Terms, W>
      <<<dim3(static_cast<unsigned>(cut.row_blocks), static_cast<unsigned>(cut.col_blocks)),
         threads, 0, stream()>>>(cut, static_cast<int>(terms), narrow_values, wide,
                                 partials.data());
  check_launch("sums over rows");
  sum_parts<C>(cut.row_blocks, {{n, partials, sums, accumulate, transposed ? cols : 0}});
}

}  // namespace

template <class T>
void thin_sums(index_t rows, index_t terms, index_t cols, const T* narrow_values, const T* wide,
               compute_t<T>* sums, bool transposed, bool accumulate) {
  // Eight terms with packs of 16 bytes would need too many registers.
  constexpr int W = pack_width<T>, half = W / 2;
  const bool by_pack = cols % W == 0 && packs_fit<W>(wide);
  const bool by_half = cols % half == 0 && packs_fit<half>(wide);
  const auto run = [&](auto terms_and_width) {
    constexpr int key = decltype(terms_and_width)::value;
    launch<key / 16, key % 16>(rows, terms, cols, narrow_values, wide, sums, transposed,
                               accumulate);
  };
  const auto pick = [&](auto terms_constant, auto width, bool fits) {
    constexpr int most = decltype(terms_constant)::value, w = decltype(width)::value;
    if (fits)
      run(std::integral_constant<int, most * 16 + w>{});
    else
      run(std::integral_constant<int, most * 16 + 1>{});
  };
  using std::integral_constant;
  if (terms == 0)
    pick(integral_constant<int, 0>{}, integral_constant<int, W>{}, by_pack);
  else if (terms <= 4)
    pick(integral_constant<int, 4>{}, integral_constant<int, W>{}, by_pack);
  else
    pick(integral_constant<int, 8>{}, integral_constant<int, half>{}, by_half);
}

template void thin_sums(index_t, index_t, index_t, const float*, const float*, float*, bool, bool);
template void thin_sums(index_t, index_t, index_t, const double*, const double*, double*, bool,
                        bool);
template void thin_sums(index_t, index_t, index_t, const bf16*, const bf16*, float*, bool, bool);

}  // namespace flr::cuda::dense
