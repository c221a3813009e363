// The parts of a row, put together: one thread a number, the splits in order, so that the result
// has the same bits in every run. A few megabytes at most; nothing here is worth tuning.
#include "ladder/parts.cuh"

namespace flr::cuda::ladder {
namespace {

constexpr int threads = 128;

template <int D>
__global__ void __launch_bounds__(threads) merge_kernel(Hop p, Parts<D> parts) {
  const index_t at = index_t{blockIdx.x} * threads + threadIdx.x;
  const int d = int(at % D), h = int(at / D % p.H);
  const index_t i = at / D / p.H;
  if (i >= p.rows) return;
  float top = -INFINITY;
  for (int s = 0; s < parts.splits; ++s) top = fmaxf(top, parts.at(p, h, s, i)[D]);
  float out = 0, sum = 0;
  for (int s = 0; s < parts.splits; ++s) {
    const float* part = parts.at(p, h, s, i);
    const float factor = exp2_fast(part[D] - top);
    out += factor * part[d];
    sum += factor * part[D + 1];
  }
  p.out.at(h, i)[d] = from_compute<bf16>(out / sum);
}

}  // namespace

template <int D>
void merge(const Hop& p, const Parts<D>& parts) {
  const unsigned blocks = unsigned(ceil_div(p.rows * p.H * D, threads));
  merge_kernel<D><<<blocks, threads, 0, stream()>>>(p, parts);
  check_launch("ladder, merge");
}

template void merge(const Hop&, const Parts<8>&);
template void merge(const Hop&, const Parts<16>&);

}  // namespace flr::cuda::ladder
