// Layer norm and RMS norm over the last axis.
//
//   y = (x − mean)·rstd·w + b, rstd = 1/√(var + eps);   RMS norm has no mean.
//
// Bound by memory: x is read once and y written once. A row lives in the registers of 1 … 256
// lanes, so that both passes over it (mean, then squares of differences) cost shuffles only; the
// next row is fetched while this one is summed. Rows longer than 1024 packs are read three times by
// a block, which finds them in its first-level cache.
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

template <class Layout, class T>
__global__ void __launch_bounds__(row_threads) norm_rows(NormParams<T> p) {
  using C = compute_t<T>;
  constexpr int values = Layout::values;
  __shared__ C part[row_threads / 32];
  const int cols = int(p.cols);
  const index_t step = index_t{gridDim.x} * Layout::rows;
  C w[values], b[values];
  load_columns<Layout>(p.w, cols, C(1), w);
  load_columns<Layout>(p.b, cols, C(0), b);

  RowPacks<Layout, T> next;
  const int in_block = int(threadIdx.x) / Layout::lanes;
  index_t first = index_t{blockIdx.x} * Layout::rows;
  next.load(p.x, first + in_block, p.rows, cols);
  for (; first < p.rows; first += step) {
    const index_t row = first + in_block;
    RowPacks<Layout, T> x = next;
    next.load(p.x, row + step, p.rows, cols);

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

template <class T>
__global__ void __launch_bounds__(row_threads) norm_long_rows(NormParams<T> p) {
  using C = compute_t<T>;
  __shared__ C part[row_threads / 32];
  for (index_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const T* x = p.x + row * p.cols;
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
  if (p.rows == 0) return;
  const bool in_registers = with_row_layout<T>(p.cols, aligned_16(p.x, p.y), [&](auto layout) {
    using Layout = decltype(layout);
    norm_rows<Layout><<<grid_for(p.rows, Layout::rows), row_threads, 0, stream()>>>(p);
  });
  if (!in_registers) norm_long_rows<<<grid_for(p.rows, 1), row_threads, 0, stream()>>>(p);
  check_launch("norm");
}

template void norm(const NormParams<float>&);
template void norm(const NormParams<double>&);
template void norm(const NormParams<bf16>&);

}  // namespace flr::cuda
