// Layer norm and RMS norm over the last axis.
//
//   y = (x − mean)·rstd·w + b, rstd = 1/√(var + eps);   RMS norm has no mean.
//
// Bound by memory: x is read once and y written once. A row lives in the registers of 1 … 256
// lanes, so that both passes over it (mean, then squares of differences) cost shuffles only; the
// next row is fetched while this one is summed. Rows longer than 1024 packs are read three times by
// a block, which finds them in its first-level cache. What is to be added to x first is read beside it, and
// the sum written beside y: a residual block's addition costs no pass of its own.
#include "common/resident_blocks.hpp"
#include "common/rows.cuh"
#include "table.hpp"

namespace flr::cuda {
namespace {

/// rstd from the sums of squares and of what rounding left of Σ(x − mean); corrects the mean.
template <class C>
__device__ C finish_statistics(C squares, C rests, C cols, C eps, bool rms, C& mean) {
  if (rms) return C(1) / sqrt(squares / cols + eps);
  const C rest = rests / cols;
  const C variance = squares / cols - rest * rest;
  mean += rest;
  return C(1) / sqrt((variance < 0 ? C(0) : variance) + eps);
}

template <class T>
__device__ void save_statistics(const NormParams<T>& p, index_t row, compute_t<T> mean,
                                compute_t<T> rstd) {
  if (p.mean && !p.rms) p.mean[row] = mean;
  if (p.rstd) p.rstd[row] = rstd;
}

/// A row of x, or of what the norm is taken of when something is added to x, before the additions.
template <class Layout, class T, bool Adds>
struct Summands {
  RowPacks<Layout, T> x, add, more;

  /// `of_period` is the row among add_rows.
  __device__ void load(const NormParams<T>& p, index_t row, index_t of_period) {
    const int cols = int(p.cols);
    x.load(p.x, row, p.rows, cols);
    if constexpr (Adds) {
      add.load(p.add, row, p.add ? p.rows : 0, cols);
      more.load(p.add_rows, of_period, p.add_rows && row < p.rows ? p.period : 0, cols);
    }
  }
  __device__ RowPacks<Layout, T> sum(const NormParams<T>& p, index_t row) const {
    RowPacks<Layout, T> result = x;
    if constexpr (Adds) {
#pragma unroll
      for (int v = 0; v < Layout::values; ++v) {
        if (p.add) result.set(v, result.value(v) + add.value(v));
        if (p.add_rows) result.set(v, result.value(v) + more.value(v));
      }
      result.store(p.sum, row, p.rows, int(p.cols));
    }
    return result;
  }
};

template <class Layout, class T, bool Adds>
__global__ void __launch_bounds__(row_threads) norm_rows(NormParams<T> p) {
  using C = compute_t<T>;
  constexpr int values = Layout::values;
  __shared__ C part[row_threads / 32];
  const int cols = int(p.cols);
  const index_t step = index_t{gridDim.x} * Layout::rows;
  C w[values], b[values];
  load_columns<Layout>(p.w, cols, C(1), w);
  load_columns<Layout>(p.b, cols, C(0), b);

  Summands<Layout, T, Adds> next;
  const int in_block = int(threadIdx.x) / Layout::lanes;
  index_t first = index_t{blockIdx.x} * Layout::rows;
  const bool repeats = Adds && p.add_rows;
  index_t of_period = repeats ? (first + in_block) % p.period : 0;
  const index_t of_step = repeats ? step % p.period : 0;
  next.load(p, first + in_block, of_period);
  for (; first < p.rows; first += step) {
    const index_t row = first + in_block;
    RowPacks<Layout, T> x = next.sum(p, row);
    of_period += of_step;
    if (repeats && of_period >= p.period) of_period -= p.period;
    next.load(p, row + step, of_period);

    C mean = 0, squares = 0, rests = 0;
    if (!p.rms) {
#pragma unroll
      for (int v = 0; v < values; ++v) mean += x.value(v);
      mean = group_sum<Layout::lanes>(mean, part) / C(cols);
    }
#pragma unroll
    for (int v = 0; v < values; ++v) {
      const C d = x.inside(v, cols) ? x.value(v) - mean : C(0);
      squares += d * d;
      rests += d;
    }
    squares = group_sum<Layout::lanes>(squares, part);
    if (!p.rms) rests = group_sum<Layout::lanes>(rests, part);
    const C rstd = finish_statistics(squares, rests, C(cols), p.eps, p.rms, mean);
#pragma unroll
    for (int v = 0; v < values; ++v) x.set(v, (x.value(v) - mean) * rstd * w[v] + b[v]);
    x.store(p.y, row, p.rows, cols);
    if (Layout::lane() == 0 && row < p.rows) save_statistics(p, row, mean, rstd);
  }
}

/// Every thread writes, and later reads, its own part of the sum.
template <class T>
__device__ const T* sum_long_row(const NormParams<T>& p, index_t row) {
  const T* more = p.add_rows ? p.add_rows + row % p.period * p.cols : nullptr;
  for (index_t j = threadIdx.x; j < p.cols; j += row_threads) {
    const index_t i = row * p.cols + j;
    T v = p.x[i];
    if (p.add) v = from_compute<T>(to_compute(v) + to_compute(p.add[i]));
    if (more) v = from_compute<T>(to_compute(v) + to_compute(more[j]));
    p.sum[i] = v;
  }
  return p.sum + row * p.cols;
}

template <class T>
__global__ void __launch_bounds__(row_threads) norm_long_rows(NormParams<T> p) {
  using C = compute_t<T>;
  __shared__ C part[row_threads / 32];
  for (index_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const T* x = p.x + row * p.cols;
    if (p.add || p.add_rows) x = sum_long_row(p, row);
    C mean = 0, squares = 0, rests = 0;
    if (!p.rms) {
      for (index_t j = threadIdx.x; j < p.cols; j += row_threads) mean += to_compute(x[j]);
      mean = block_sum<row_threads>(mean, part) / C(p.cols);
    }
    for (index_t j = threadIdx.x; j < p.cols; j += row_threads) {
      const C d = to_compute(x[j]) - mean;
      squares += d * d;
      rests += d;
    }
    squares = block_sum<row_threads>(squares, part);
    rests = block_sum<row_threads>(rests, part);
    const C rstd = finish_statistics(squares, rests, C(p.cols), p.eps, p.rms, mean);
    for (index_t j = threadIdx.x; j < p.cols; j += row_threads) {
      const C normed = (to_compute(x[j]) - mean) * rstd;
      p.y[row * p.cols + j] =
          from_compute<T>(normed * (p.w ? p.w[j] : C(1)) + (p.b ? p.b[j] : C(0)));
    }
    if (threadIdx.x == 0) save_statistics(p, row, mean, rstd);
  }
}

}  // namespace

template <class T>
void norm(const NormParams<T>& p) {
  check(p.rows >= 0 && p.cols >= 1, "[norm] expected rows of 1 element or more; got [{}, {}]",
        p.rows, p.cols);
  check(!(p.add || p.add_rows) || p.sum, "[norm] expected a place for the sum with what is added; got none");
  if (p.rows == 0) return;
  check(!p.add_rows || p.period > 0, "[norm] expected 1 row or more to add; got {}", p.period);
  const bool adds = p.add || p.add_rows, aligned = aligned_16(p.x, p.y) && aligned_16(p.add, p.add_rows, p.sum);
  const bool in_registers = with_row_layout<T>(p.cols, aligned, [&](auto layout) {
    using Layout = decltype(layout);
    const auto kernel = adds ? norm_rows<Layout, T, true> : norm_rows<Layout, T, false>;
    const index_t passes = ceil_div(p.rows, Layout::rows);
    const unsigned blocks = even_blocks(passes, resident_blocks(kernel, row_threads, 0, 1, passes));
    kernel<<<blocks, row_threads, 0, stream()>>>(p);
  });
  if (!in_registers) norm_long_rows<<<grid_for(p.rows, 1), row_threads, 0, stream()>>>(p);
  check_launch("norm");
}

template void norm(const NormParams<float>&);
template void norm(const NormParams<double>&);
template void norm(const NormParams<bf16>&);

}  // namespace flr::cuda
