// Forward, last pass: y = Sᵀφ(q) / (φ(q)·z + ε).
#include "performer/tokens.cuh"

namespace flr::cuda::performer {
namespace {

template <int D>
__global__ void __launch_bounds__(threads)
    outputs_kernel(Problem p, int splits, const float* state, Heads<bf16> y) {
  extern __shared__ uint4 memory[];
  const Place at(p, splits);
  const Shared<D> shared(memory, p, p.rows + index_t{at.h} * p.R * D, state + at.item * p.state(), false);
  __syncthreads();
  const index_t tiles = (p.Nq + tile - 1) / tile;
  const bf16* from = p.q.head(at.b, at.h);
  for (index_t i = at.warp; i < tiles; i += at.count) {
    Left<D> q;
    q.load(from, p.q.s.row, tile * i, p.Nq);
    const OwnMaximum<D> own(p, q, shared);
    float sums[eights<D> + 1][4] = {}, weight[2], out[eights<D>][4];
    numerators(p, q, own.start, shared, sums, weight);
#pragma unroll
    for (int j = 0; j < eights<D>; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[j][e] = sums[j][e] / weight[e / 2];
    put_tokens<D>(out, y.head(at.b, at.h), y.s.row, tile * i, p.Nq, false);
  }
}

}  // namespace

void outputs(const Problem& p, const float* state, const Heads<bf16>& y) {
  const int splits = splits_of(p, p.Nq);
  with_width(p.D, [&]<int D>() {
    const int bytes = Shared<D>::bytes(p.R, false);
    allow_shared(outputs_kernel<D>, bytes, "performer");
    outputs_kernel<D><<<unsigned(p.heads() * splits), threads, bytes, stream()>>>(p, splits, state, y);
    check_launch("performer");
  });
}

}  // namespace flr::cuda::performer
