// The gradient of layer norm and RMS norm.
//
//   x̂ = (x − mean)·rstd, g = dy w:
//   dx = rstd (g − mean(g) − x̂ mean(g x̂)),  dw = Σ dy x̂,  db = Σ dy over the rows;
// RMS norm has no mean, neither of x nor of g.
//
// Bound by memory: x and dy are read once, dx is written once. Rows lie in registers as in norm.cu.
// Each lane keeps sums of dw and db for its columns over all rows that it sees; a block merges its
// lanes and writes [2, cols] once; a second launch adds the blocks' parts in order. How many blocks
// there are depends on sizes, type and alignment only, so the sums have the same bits on every device.
#include <algorithm>

#include "common/rows.cuh"
#include "table.hpp"

namespace flr::cuda {
namespace {

template <class T>
bool sums_wanted(const NormBackwardParams<T>& p) {
  return p.dw_mode != GradMode::ignore || p.db_mode != GradMode::ignore;
}

/// Blocks that a multiprocessor has registers for. Eight values of bf16 would take registers for two only, with
/// which too few loads are under way: they are held to those of three.
template <class Layout, class T>
inline constexpr int blocks_at_once = sizeof(T) == 8 || Layout::values > 8 ? 1
                                      : Layout::values <= 4                ? 4
                                      : sizeof(T) == 4                     ? 2
                                                                           : 3;

/// Enough blocks for the chip, few enough that their partial sums stay a small part of the traffic: up to as many
/// as are at work at once on the 132 multiprocessors of an H100.
inline int backward_blocks(index_t rows, index_t rows_a_pass, int at_once) {
  const index_t passes = ceil_div(rows, rows_a_pass), multiprocessors = 132;
  const index_t wanted = std::clamp(rows / 128, multiprocessors, multiprocessors * at_once);
  return int(even_blocks(passes, wanted));
}

/// Adds the sums of all lanes and warps of a block that hold the same columns; column c of dw goes
/// to out[c] and of db to out[cols + c].
template <class Layout, class C>
__device__ void write_block_sums(C (&sums)[Layout::values], int cols, C* out, C* shared) {
  if constexpr (Layout::lanes > 32) {
#pragma unroll
    for (int v = 0; v < Layout::values; ++v) {
      const int c = Layout::column(v / Layout::width) + v % Layout::width;
      if (c < cols) out[c] = sums[v];
    }
  } else {
    const int warp = int(threadIdx.x) / 32;
    __syncthreads();
#pragma unroll
    for (int v = 0; v < Layout::values; ++v) {
#pragma unroll
      for (int d = Layout::lanes; d < 32; d *= 2)
        sums[v] += __shfl_xor_sync(0xffffffffu, sums[v], d);
      const int c = Layout::column(v / Layout::width) + v % Layout::width;
      if (int(threadIdx.x) % 32 < Layout::lanes) shared[warp * Layout::columns + c] = sums[v];
    }
    __syncthreads();
    for (int c = int(threadIdx.x); c < cols; c += row_threads) {
      C sum = 0;
#pragma unroll
      for (int w = 0; w < row_threads / 32; ++w) sum += shared[w * Layout::columns + c];
      out[c] = sum;
    }
  }
}

/// What a lane reads of a row: all of it is fetched while the row before is worked on.
template <class Layout, class T>
struct BackwardRow {
  RowPacks<Layout, T> x, dy, dx;
  compute_t<T> rstd, mean;

  __device__ void load(const NormBackwardParams<T>& p, index_t row) {
    const int cols = int(p.cols);
    x.load(p.x, row, p.rows, cols);
    dy.load(p.dy, row, p.rows, cols);
    dx.load(p.dx, row, p.dx_mode == GradMode::accumulate ? p.rows : 0, cols);
    rstd = row < p.rows ? p.rstd[row] : compute_t<T>(0);
    mean = row < p.rows && !p.rms ? p.mean[row] : compute_t<T>(0);
  }
};

template <class Layout, class T>
__global__ void __launch_bounds__(row_threads, blocks_at_once<Layout, T>)
    norm_backward_rows(NormBackwardParams<T> p, compute_t<T>* partials) {
  using C = compute_t<T>;
  constexpr int values = Layout::values;
  __shared__ C part[row_threads / 32];
  __shared__ C merged[Layout::lanes > 32 ? 1 : row_threads / 32 * Layout::columns];
  const int cols = int(p.cols);
  const index_t step = index_t{gridDim.x} * Layout::rows;
  const bool add = p.dx_mode == GradMode::accumulate;
  C w[values], dw[values] = {}, db[values] = {};
  load_columns<Layout>(p.w, cols, C(1), w);

  BackwardRow<Layout, T> next;
  const int in_block = int(threadIdx.x) / Layout::lanes;
  index_t first = index_t{blockIdx.x} * Layout::rows;
  next.load(p, first + in_block);
  for (; first < p.rows; first += step) {
    const index_t row = first + in_block;
    auto [x, dy, dx, rstd, mean] = next;
    next.load(p, row + step);

    C g_sum = 0, gx_sum = 0;
#pragma unroll
    for (int v = 0; v < values; ++v) {
      const C d = dy.value(v), normed = (x.value(v) - mean) * rstd, g = d * w[v];
      // Beyond the row's end dy is 0.
      g_sum += g;
      gx_sum += g * normed;
      dw[v] += d * normed;
      db[v] += d;
    }
    if (p.dx_mode == GradMode::ignore) continue;
    const C g_mean = p.rms ? C(0) : group_sum<Layout::lanes>(g_sum, part) / C(cols);
    const C gx_mean = group_sum<Layout::lanes>(gx_sum, part) / C(cols);
#pragma unroll
    for (int v = 0; v < values; ++v) {
      const C normed = (x.value(v) - mean) * rstd;
      const C slope = (dy.value(v) * w[v] - g_mean - normed * gx_mean) * rstd;
      dx.set(v, add ? dx.value(v) + slope : slope);
    }
    dx.store(p.dx, row, p.rows, cols);
  }
  if (!partials) return;
  C* out = partials + index_t{blockIdx.x} * 2 * cols;
  write_block_sums<Layout>(dw, cols, out, merged);
  write_block_sums<Layout>(db, cols, out + cols, merged);
}

/// Rows too long for registers: a block a row, its sums of dw and db in memory. A thread meets only
/// columns of its own there.
template <class T>
__global__ void __launch_bounds__(row_threads)
    norm_backward_long_rows(NormBackwardParams<T> p, compute_t<T>* partials) {
  using C = compute_t<T>;
  __shared__ C part[row_threads / 32];
  C* dw = partials ? partials + index_t{blockIdx.x} * 2 * p.cols : nullptr;
  if (dw)
    for (index_t j = threadIdx.x; j < p.cols; j += row_threads) dw[j] = dw[p.cols + j] = 0;
  for (index_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const T *x = p.x + row * p.cols, *dy = p.dy + row * p.cols;
    const C rstd = p.rstd[row], mean = p.rms ? C(0) : p.mean[row];
    C g_sum = 0, gx_sum = 0;
    for (index_t j = threadIdx.x; j < p.cols; j += row_threads) {
      const C d = to_compute(dy[j]), normed = (to_compute(x[j]) - mean) * rstd;
      const C g = p.w ? d * p.w[j] : d;
      g_sum += g;
      gx_sum += g * normed;
      if (!dw) continue;
      dw[j] += d * normed;
      dw[p.cols + j] += d;
    }
    if (p.dx_mode == GradMode::ignore) continue;
    const C g_mean = p.rms ? C(0) : block_sum<row_threads>(g_sum, part) / C(p.cols);
    const C gx_mean = block_sum<row_threads>(gx_sum, part) / C(p.cols);
    for (index_t j = threadIdx.x; j < p.cols; j += row_threads) {
      const C d = to_compute(dy[j]), normed = (to_compute(x[j]) - mean) * rstd;
      const C g = p.w ? d * p.w[j] : d;
      put(p.dx + row * p.cols + j, (g - g_mean - normed * gx_mean) * rstd,
          p.dx_mode == GradMode::accumulate);
    }
  }
}

constexpr int merged_columns = 8, merging_threads = 256;

/// dw and db from the parts [parts, 2, cols]: eight columns a block, 32 bytes of floats; of the 32 threads
/// of a column y adds parts y, y + 32, …, and the 32 sums are added in order. The parts of a model's norms
/// are few and narrow: waiting for them is what takes time, so blocks are many and loads come together.
template <class T>
__global__ void __launch_bounds__(merging_threads)
    merge_columns(NormBackwardParams<T> p, const compute_t<T>* partials, int parts) {
  using C = compute_t<T>;
  constexpr int loads = 16;
  __shared__ C sums[32][merged_columns + 1];
  const int own = int(threadIdx.x) % merged_columns, group = int(threadIdx.x) / merged_columns;
  const index_t column = index_t{blockIdx.x} * merged_columns + own, columns = 2 * p.cols;
  C sum = 0;
  for (int i = group; column < columns && i < parts; i += 32 * loads) {
    C in[loads];
#pragma unroll
    for (int u = 0; u < loads; ++u)
      if (i + 32 * u < parts) in[u] = partials[(i + 32 * u) * columns + column];
#pragma unroll
    for (int u = 0; u < loads; ++u)
      if (i + 32 * u < parts) sum += in[u];
  }
  sums[group][own] = sum;
  __syncthreads();
  if (group > 0 || column >= columns) return;
  C total = 0;
#pragma unroll
  for (int y = 0; y < 32; ++y) total += sums[y][own];
  const bool is_w = column < p.cols;
  const GradMode mode = is_w ? p.dw_mode : p.db_mode;
  if (mode != GradMode::ignore)
    put(is_w ? p.dw + column : p.db + (column - p.cols), total, mode == GradMode::accumulate);
}

}  // namespace

template <class T>
void norm_backward(const NormBackwardParams<T>& p) {
  using C = compute_t<T>;
  check(p.rows >= 0 && p.cols >= 1,
        "[norm_backward] expected rows of 1 element or more; got [{}, {}]", p.rows, p.cols);
  const bool sums = sums_wanted(p);
  if (!sums && (p.dx_mode == GradMode::ignore || p.rows == 0)) return;
  index_t rows_a_pass = 1;
  int at_once = 4;
  const bool aligned = aligned_16(p.x, p.dy, p.dx_mode == GradMode::ignore ? nullptr : p.dx);
  with_row_layout<T>(p.cols, aligned, [&](auto layout) {
    rows_a_pass = decltype(layout)::rows, at_once = blocks_at_once<decltype(layout), T>;
  });
  const int blocks = backward_blocks(p.rows, rows_a_pass, at_once);  // 0 without rows: the sums are 0
  const Scratch<C> partials(sums ? index_t{blocks} * 2 * p.cols : 0);
  C* const out = sums ? partials.data() : nullptr;
  if (blocks > 0) {
    const bool in_registers = with_row_layout<T>(p.cols, aligned, [&](auto layout) {
      using Layout = decltype(layout);
      norm_backward_rows<Layout><<<unsigned(blocks), row_threads, 0, stream()>>>(p, out);
    });
    if (!in_registers)
      norm_backward_long_rows<<<unsigned(blocks), row_threads, 0, stream()>>>(p, out);
    check_launch("norm_backward");
  }
  if (!sums) return;
  const unsigned merging = unsigned(ceil_div(2 * p.cols, merged_columns));
  merge_columns<<<merging, merging_threads, 0, stream()>>>(p, out, blocks);
  check_launch("norm_backward sums");
}

template void norm_backward(const NormBackwardParams<float>&);
template void norm_backward(const NormBackwardParams<double>&);
template void norm_backward(const NormBackwardParams<bf16>&);

}  // namespace flr::cuda
