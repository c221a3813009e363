// Step 1: one thread a row. The softmax of the row's scores as a textbook has it: a first walk over
// the columns finds the largest score, a second one adds up the weights and the weighted values.
//
// What it teaches: how slow correct can be. Decode has a thread for each of N·H rows; neighbours
// read the same columns at the same time, which the first-level cache serves. Encode has M·H
// threads, at M = 128 and H = 8 one for every sixteenth lane of an H100, and each walks over all
// tokens alone. Every score is computed twice, and every multiply-add waits for a load of its own.
#include "common/device.cuh"
#include "ladder/ladder.hpp"

namespace flr::cuda::ladder {
namespace {

constexpr int threads = 128;

template <int D>
__device__ float dot(const float (&row)[D], const bf16* column) {
  float sum = 0;
  for (int d = 0; d < D; ++d) sum += row[d] * to_compute(column[d]);
  return sum;
}

template <int D>
__global__ void __launch_bounds__(threads) plain_kernel(Hop p) {
  const index_t at = index_t{blockIdx.x} * threads + threadIdx.x;
  if (at >= p.rows * p.H) return;
  // Neighbouring threads take neighbouring heads: those of one token are one line of memory.
  const int h = int(at % p.H);
  const index_t i = at / p.H;
  float row[D];
  for (int d = 0; d < D; ++d) row[d] = to_compute(p.row.at(h, i)[d]);

  // Weights are relative to the largest score, so that no exponential overflows.
  float top = -INFINITY;
  for (index_t j = 0; j < p.columns; ++j) top = fmaxf(top, dot<D>(row, p.column.at(h, j)));

  float sum = 0, out[D] = {};
  for (index_t j = 0; j < p.columns; ++j) {
    const float weight = expf(dot<D>(row, p.column.at(h, j)) - top);
    sum += weight;
    for (int d = 0; d < D; ++d) out[d] += weight * to_compute(p.value.at(h, j)[d]);
  }
  for (int d = 0; d < D; ++d) p.out.at(h, i)[d] = from_compute<bf16>(out[d] / sum);
}

}  // namespace

void plain(const Hop& p) {
  with_width(p.D, [&]<int D>() {
    const unsigned blocks = unsigned(ceil_div(p.rows * p.H, threads));
    plain_kernel<D><<<blocks, threads, 0, stream()>>>(p);
    check_launch("ladder, plain");
  });
}

}  // namespace flr::cuda::ladder
