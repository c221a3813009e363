// Attention backward, the gradient of an additive bias: dS = P ∘ (dy vᵀ − δ) itself, summed over
// the axes along which the bias repeats.
//
// Work: 2 · Nq · Nk · (D + Dv) flops a head once more: a pass of its own, whose blocks own blocks
// of the bias, so that every sum has one owner and the other gradients do not pay for it. A block
// makes tiles of 32 queries by 32 keys, four elements a thread, and adds up those that fall on the
// same part of the bias; where the bias is small these are split over blocks, and the parts are
// added in order.
#include "general.hpp"
#include "mask.cuh"

namespace flr::cuda::attention {
namespace {

inline constexpr int side = 32, bias_threads = 256, rows_of_thread = side * side / bias_threads;

/// How the bias is cut into blocks, and which tiles each of them adds up.
struct BiasPlan {
  bool one_b = false, one_h = false, one_row = false, one_col = false;
  index_t row_tiles = 0, col_tiles = 0;      ///< of a head's scores
  index_t B = 0, H = 0, rows = 0, cols = 0;  ///< extents of the bias
  index_t tiles = 0, splits = 1, span = 0;   ///< that a block adds up: all, parts, tiles of a part
  constexpr index_t row_blocks() const { return one_row ? 1 : row_tiles; }
  constexpr index_t col_blocks() const { return one_col ? 1 : col_tiles; }
  constexpr index_t units() const { return B * H * row_blocks() * col_blocks() * splits; }
};

template <class T>
BiasPlan bias_plan(const SdpaParams<T>& p) {
  constexpr index_t accurate = 1024;  // tiles that one block adds up, where memory allows
  constexpr index_t part_numbers = 1 << 24;
  BiasPlan x;
  x.one_b = p.bias_s.batch == 0, x.one_h = p.bias_s.head == 0;
  x.one_row = p.bias_s.row == 0, x.one_col = p.bias_col == 0;
  x.row_tiles = ceil_div(p.Nq, side), x.col_tiles = ceil_div(p.Nk, side);
  x.B = x.one_b ? 1 : p.B, x.H = x.one_h ? 1 : p.H;
  x.rows = x.one_row ? 1 : p.Nq, x.cols = x.one_col ? 1 : p.Nk;
  x.tiles = (x.one_b ? p.B : 1) * (x.one_h ? p.H : 1) * (x.one_row ? x.row_tiles : 1) *
            (x.one_col ? x.col_tiles : 1);
  const index_t blocks = std::max<index_t>(1, x.units()), chip = index_t{multiprocessors()} * 4;
  const index_t affordable =
      std::max<index_t>(1, part_numbers / std::max<index_t>(1, x.B * x.H * x.rows * x.cols));
  x.splits = std::min(affordable, std::max(chip / blocks, ceil_div(x.tiles, accurate)));
  x.splits = std::max<index_t>(1, std::min(x.splits, x.tiles));
  x.span = std::max<index_t>(1, ceil_div(x.tiles, x.splits));
  x.splits = std::max<index_t>(1, ceil_div(x.tiles, x.span));
  return x;
}

/// Adds to sums[u] the products of row `ty + 8 u` of `a` and row `tx` of `b`; both have `depth`
/// channels, and rows beyond their counts are zero.
template <class T>
__device__ void add_products(compute_t<T> (&sums)[rows_of_thread], const T* a, index_t a_stride,
                             index_t a_rows, const T* b, index_t b_stride, index_t b_rows,
                             int depth, compute_t<T> (*a_tile)[side + 1],
                             compute_t<T> (*b_tile)[side + 1]) {
  const int tx = int(threadIdx.x) % side, ty = int(threadIdx.x) / side;
  for (int d0 = 0; d0 < depth; d0 += side) {
    __syncthreads();  // what was there has been read
    for (int r = ty; r < side; r += bias_threads / side) {
      const bool inside = d0 + tx < depth;
      a_tile[r][tx] = inside && r < a_rows ? to_compute(a[r * a_stride + d0 + tx]) : 0;
      b_tile[r][tx] = inside && r < b_rows ? to_compute(b[r * b_stride + d0 + tx]) : 0;
    }
    __syncthreads();
    const int n = min(side, depth - d0);
    for (int d = 0; d < n; ++d)
#pragma unroll
      for (int u = 0; u < rows_of_thread; ++u)
        sums[u] += a_tile[ty + u * (bias_threads / side)][d] * b_tile[tx][d];
  }
}

template <class T>
__global__ void __launch_bounds__(bias_threads)
    bias_kernel(const __grid_constant__ SdpaBackwardParams<T> call,
                const __grid_constant__ BiasPlan plan, const QueryStatistics<T>* statistics,
                compute_t<T>* part) {
  using C = compute_t<T>;
  __shared__ C a_tile[side][side + 1], b_tile[side][side + 1];
  const SdpaParams<T>& p = call.f;
  const int tx = int(threadIdx.x) % side, ty = int(threadIdx.x) / side;
  constexpr int step = bias_threads / side;

  for (index_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    index_t rest = unit;
    const auto next = [&rest](index_t extent) {
      const index_t x = rest % extent;
      rest /= extent;
      return x;
    };
    const index_t col_block = next(plan.col_blocks()), row_block = next(plan.row_blocks());
    const index_t h0 = next(plan.H), b0 = next(plan.B), split = rest;
    C total[rows_of_thread] = {};
    const index_t end = min((split + 1) * plan.span, plan.tiles);
    for (index_t tile = split * plan.span; tile < end; ++tile) {
      rest = tile;
      const index_t j0 = (plan.one_col ? next(plan.col_tiles) : col_block) * side;
      const index_t i0 = (plan.one_row ? next(plan.row_tiles) : row_block) * side;
      const index_t h = plan.one_h ? next(p.H) : h0, b = plan.one_b ? next(p.B) : b0;
      const index_t at = b * p.H + h;
      C s[rows_of_thread] = {}, slope[rows_of_thread] = {};
      add_products(s, head(p.q, p.qs, at, p.H) + i0 * p.qs.row, p.qs.row, p.Nq - i0,
                   head(p.k, p.ks, at, p.H) + j0 * p.ks.row, p.ks.row, p.Nk - j0, int(p.D), a_tile,
                   b_tile);
      add_products(slope, head(call.dout, call.dos, at, p.H) + i0 * call.dos.row, call.dos.row,
                   p.Nq - i0, head(p.v, p.vs, at, p.H) + j0 * p.vs.row, p.vs.row, p.Nk - j0,
                   int(p.Dv), a_tile, b_tile);
      const Mask<T> mask(p, at);
#pragma unroll
      for (int u = 0; u < rows_of_thread; ++u) {
        const index_t i = i0 + ty + u * step, j = j0 + tx;
        if (i >= p.Nq || j >= p.Nk) continue;
        const auto of_query = statistics[at * p.Nq + i];
        const C score = mask(s[u] * (p.scale * log2_e<C>), i, j);
        total[u] += exp2_of(score - of_query.v[0]) * (slope[u] - of_query.v[1]);
      }
    }
    __syncthreads();
#pragma unroll
    for (int u = 0; u < rows_of_thread; ++u) a_tile[ty + u * step][tx] = total[u];
    __syncthreads();
    const int rows = plan.one_row ? 1 : side, cols = plan.one_col ? 1 : side;
    for (int x = int(threadIdx.x); x < rows * cols; x += bias_threads) {
      const int r0 = x / cols, c0 = x % cols;
      const index_t i = row_block * side + r0, j = col_block * side + c0;
      if (i >= plan.rows || j >= plan.cols) continue;
      C sum = 0;
      for (int r = r0; r < (plan.one_row ? side : r0 + 1); ++r)
        for (int c = c0; c < (plan.one_col ? side : c0 + 1); ++c) sum += a_tile[r][c];
      if (part)
        part[(((split * plan.B + b0) * plan.H + h0) * plan.rows + i) * plan.cols + j] = sum;
      else
        put(call.dbias + b0 * p.bias_s.batch + h0 * p.bias_s.head + i * p.bias_s.row +
                j * p.bias_col,
            sum, call.dbias_mode == GradMode::accumulate);
    }
    __syncthreads();
  }
}

}  // namespace

template <class T>
void bias_gradient(const SdpaBackwardParams<T>& p, const QueryStatistics<T>* statistics) {
  const SdpaParams<T>& f = p.f;
  if (p.dbias_mode == GradMode::ignore || !p.dbias) return;
  const BiasPlan plan = bias_plan(f);
  if (plan.units() == 0) return;
  const bool direct = plan.splits == 1;
  const index_t numbers = plan.B * plan.H * plan.rows * plan.cols;
  const Scratch<compute_t<T>> part(direct ? 1 : plan.splits * numbers);
  const auto grid = static_cast<unsigned>(std::min<index_t>(plan.units(), index_t{1} << 30));
  bias_kernel<T>
      <<<grid, bias_threads, 0, stream()>>>(p, plan, statistics, direct ? nullptr : part.data());
  check_launch("sdpa_backward, bias");
  if (!direct)
    collect(Parts<T>{part.data(), plan.splits, plan.B, plan.H, plan.rows, plan.cols, false, false,
                     p.dbias, f.bias_s, f.bias_col, p.dbias_mode == GradMode::accumulate});
}

template void bias_gradient<float>(const SdpaBackwardParams<float>&, const QueryStatistics<float>*);
template void bias_gradient<double>(const SdpaBackwardParams<double>&,
                                    const QueryStatistics<double>*);
template void bias_gradient<bf16>(const SdpaBackwardParams<bf16>&, const QueryStatistics<bf16>*);

}  // namespace flr::cuda::attention
