// Backward, first pass, over queries: with d their denominators,
//
//   e = −(dy·y)/d,   dφ = S dy/d + e z,   slope_r = dφ_r (φ_r − offset),
//   dq = factor (Σ_r slope_r ω_r − (Σ_r slope_r) ω_max):
// a query's own maximum is subtracted from all its exponents. c, dy/d and e are left for the sums
// over queries that are the state's gradient.
#include "performer/tokens.cuh"

namespace flr::cuda::performer {
namespace {

template <int D>
__global__ void __launch_bounds__(threads)
    queries_kernel(Problem p, int splits, const float* state, Heads<const bf16> dy, float* c,
                   bf16* over, float* e_of, GradOf<bf16> dq) {
  extern __shared__ uint4 memory[];
  constexpr int blocks = eights<D>;
  const Place at(p, splits);
  const float* omega = p.rows + index_t{at.h} * p.R * D;
  const Shared<D> shared(memory, p, omega, state + at.item * p.state(), true);
  __syncthreads();
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const index_t tiles = (p.Nq + tile - 1) / tile;
  for (index_t i = at.warp; i < tiles; i += at.count) {
    Left<D> q, g_out;
    q.load(p.q.head(at.b, at.h), p.q.s.row, tile * i, p.Nq);
    g_out.load(dy.head(at.b, at.h), dy.s.row, tile * i, p.Nq);
    const OwnMaximum<D> own(p, q, shared);
    float y[blocks + 1][4] = {}, weight[2], e[2];
    numerators(p, q, own.start, shared, y, weight);
    Left<D> scaled;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const index_t n = tile * i + g + 8 * r;
      const float inverse = 1 / weight[r];
      float along = 0;
#pragma unroll
      for (int j = 0; j < blocks; ++j) {
        const float low = low_bf16(g_out.at(j, r)), high = high_bf16(g_out.at(j, r));
        along += low * y[j][2 * r] + high * y[j][2 * r + 1];
        scaled.at(j, r) = pack_bf16(low * inverse, high * inverse);
        if (n < p.Nq)
          *reinterpret_cast<u32*>(over + (at.item * p.Nq + n) * D + 8 * j + 2 * t) = scaled.at(j, r);
      }
      e[r] = -sum_of_quad(along) * inverse * inverse;
      if (t == 0 && n < p.Nq) c[at.item * p.Nq + n] = own.c[r], e_of[at.item * p.Nq + n] = e[r];
    }
    if (!dq.wanted()) continue;
    float grad[blocks][4] = {}, total[2] = {};
    for (int kk = 0; kk < p.R / 16; ++kk) {
      float slope[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = 2 * kk + half;
        const float z0 = shared.z[8 * j + 2 * t], z1 = shared.z[8 * j + 2 * t + 1];
        float d[4] = {e[0] * z0, e[0] * z1, e[1] * z0, e[1] * z1};
#pragma unroll
        for (int s = 0; s < sixteens<D>; ++s) {
          const Pair b = shared.across[(j * sixteens<D> + s) * 32 + lane];
          mma_k16(d, scaled.a[s], b.v[0], b.v[1]);
        }
        float f[4] = {own.start[0], own.start[0], own.start[1], own.start[1]};
        add_exponents(f, q, shared.rows + j * sixteens<D> * 32);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          slope[half][k] = d[k] * exp2_fast(f[k]);
          total[k / 2] += slope[half][k];
        }
      }
      u32 a[4];
      as_left(slope[0], slope[1], a);
      add_product(grad, a, shared.back + kk * blocks * 32);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] = sum_of_quad(total[r]) * p.factor;
      const float* row = omega + own.feature[r] * D;
#pragma unroll
      for (int j = 0; j < blocks; ++j)
#pragma unroll
        for (int k = 0; k < 2; ++k) grad[j][2 * r + k] -= total[r] * row[8 * j + 2 * t + k];
    }
    put_tokens<D>(grad, dq.head(at.b, at.h), dq.s.row, tile * i, p.Nq, dq.mode == GradMode::accumulate);
  }
}

}  // namespace

void query_gradients(const Problem& p, const float* state, const Heads<const bf16>& dy, float* c,
                     bf16* over, float* e, const GradOf<bf16>& dq) {
  const int splits = splits_of(p, p.Nq);
  with_width(p.D, [&]<int D>() {
    const int bytes = Shared<D>::bytes(p.R, true);
    allow_shared(queries_kernel<D>, bytes, "performer_queries");
    queries_kernel<D><<<unsigned(p.heads() * splits), threads, bytes, stream()>>>(p, splits, state, dy, c, over, e, dq);
    check_launch("performer_queries");
  });
}

int shared_bytes(const Problem& p) {
  int bytes = 0;
  with_width(p.D, [&]<int D>() { bytes = Shared<D>::bytes(p.R, true); });
  return bytes;
}

}  // namespace flr::cuda::performer
