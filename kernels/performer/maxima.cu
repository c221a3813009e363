// Norms of keys, and of each head the greatest exponent and where it is.
#include <cmath>

#include "performer/columns.cuh"

namespace flr::cuda::performer {
namespace {

/// The greater one; of equal ones the first.
__device__ void improve(float& best, index_t& at, float other, index_t other_at) {
  if (other > best || (other == best && other_at >= 0 && (at < 0 || other_at < at)))
    best = other, at = other_at;
}

template <int D>
__global__ void __launch_bounds__(threads)
    maxima_kernel(Problem p, int splits, float* c, float* greatest, index_t* where) {
  const ColumnPlace at(p, splits);
  if (!at.exists) return;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const Rows<D> rows(p, p.rows + index_t{at.h} * p.R * D, at.first_row);
  const bf16* k = p.k.head(at.b, at.h);
  float* norms = c + at.item * p.Nk;
  const index_t tiles = (p.Nk + 7) / 8;
  float best = -INFINITY;
  index_t best_tile = -1;
  int best_place = 0;  // row block and number of the greatest exponent
  Column<D> next;
  next.load(k, p.k.s.row, 8 * at.split, p.Nk);
  for (index_t i = at.split; i < tiles; i += at.splits) {
    const Column<D> x = next;
    next.load(k, p.k.s.row, 8 * (i + at.splits), p.Nk);
    float square = 0;
#pragma unroll
    for (int s = 0; s < sixteens<D>; ++s)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float low = low_bf16(x.b[s][half]), high = high_bf16(x.b[s][half]);
        square += low * low + high * high;
      }
    square = sum_of_quad(square);
    const index_t own = 8 * i + g;
    const bool kept = own < p.Nk && (!p.keep || p.keep[at.b * p.keep_batch + own]);
    const float norm = kept ? -0.5f * log2_e * p.factor * p.factor * square : -INFINITY;
    if (at.first_row == 0 && t == 0 && own < p.Nk) norms[own] = norm;
    const float c0 = __shfl_sync(0xffffffffu, norm, 8 * t), c1 = __shfl_sync(0xffffffffu, norm, 8 * t + 4);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      float e[4] = {c0, c1, c0, c1};
      x.add_exponents(e, rows, m);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int r = at.first_row + 16 * m + g + j / 2 * 8;
        if (e[j] > best && r < p.R) best = e[j], best_tile = i, best_place = 4 * m + j;
      }
    }
  }
  const int best_row = at.first_row + best_place / 4 * 16 + g + best_place % 4 / 2 * 8;
  index_t best_at = best_tile < 0 ? -1 : (8 * best_tile + 2 * t + best_place % 2) * p.R + best_row;
  for (int d = 1; d < 32; d *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, best, d);
    const index_t other_at = __shfl_xor_sync(0xffffffffu, best_at, d);
    improve(best, best_at, other, other_at);
  }
  if (lane > 0) return;
  const index_t groups = (p.R + warp_rows - 1) / warp_rows;
  const index_t to = (at.item * splits + at.split) * groups + at.first_row / warp_rows;
  greatest[to] = best, where[to] = best_at;
}

__global__ void collect_kernel(const float* greatest, const index_t* where, index_t heads, int parts,
                               float* maximum, index_t* attained) {
  const index_t head = index_t{blockIdx.x} * 64 + threadIdx.x;
  if (head >= heads) return;
  float best = -INFINITY;
  index_t at = -1;
  for (int i = 0; i < parts; ++i) improve(best, at, greatest[head * parts + i], where[head * parts + i]);
  maximum[head] = at < 0 ? 0.0f : best;  // without keys nothing is subtracted from −∞
  attained[head] = at;
}

}  // namespace

void key_maxima(const Problem& p, float* c, float* maximum, index_t* attained) {
  const ColumnGrid grid(p, p.Nk);
  const int parts = grid.splits * ((p.R + warp_rows - 1) / warp_rows);
  const Scratch<float> greatest(p.heads() * parts);
  const Scratch<index_t> where(p.heads() * parts);
  with_width(p.D, [&]<int D>() {
    maxima_kernel<D><<<grid.blocks, threads, 0, stream()>>>(p, grid.splits, c, greatest.data(), where.data());
    check_launch("performer_maxima");
  });
  collect_kernel<<<unsigned(ceil_div(p.heads(), 64)), 64, 0, stream()>>>(greatest.data(), where.data(), p.heads(), parts, maximum, attained);
  check_launch("performer_collect");
}

}  // namespace flr::cuda::performer
