// Backward, last pass, over keys: with [dS|dz] the state's gradient,
//
//   dφ = dS v + dz,   slope_r = dφ_r (φ_r − offset),   dv = dSᵀφ,
//   dk = factor (Σ_r slope_r ω_r − (Σ_r slope_r) k̃)
// and what the head's maximum takes from the key that attains it.
#include <cmath>

#include "performer/fragments.cuh"

namespace flr::cuda::performer {
namespace {

template <int D>
__global__ void __launch_bounds__(threads)
    keys_kernel(Problem p, int splits, const float* c, const float* maximum, const float* slopes,
                float* totals, GradOf<bf16> dk, GradOf<bf16> dv) {
  extern __shared__ uint4 memory[];
  constexpr int blocks = eights<D>;
  const Place at(p, splits);
  const Shared<D> shared(memory, p, p.rows + index_t{at.h} * p.R * D, slopes + at.item * p.state(), true);
  __syncthreads();
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const float shift = log2f(p.scale) - maximum[at.item];
  const index_t tiles = (p.Nk + tile - 1) / tile;
  float all = 0;
  for (index_t i = at.warp; i < tiles; i += at.count) {
    Left<D> k, v;
    k.load(p.k.head(at.b, at.h), p.k.s.row, tile * i, p.Nk);
    v.load(p.v.head(at.b, at.h), p.v.s.row, tile * i, p.Nk);
    float own[2], offset[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const index_t n = tile * i + g + 8 * r;
      const float norm = n < p.Nk ? c[at.item * p.Nk + n] : -INFINITY;
      own[r] = norm + shift;
      offset[r] = norm == -INFINITY ? 0.0f : p.offset;
    }
    float to_k[blocks][4] = {}, to_v[blocks + 1][4] = {}, total[2] = {};
    for (int kk = 0; kk < p.R / 16; ++kk) {
      float slope[2][4], f[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = 2 * kk + half;
        const float z0 = shared.z[8 * j + 2 * t], z1 = shared.z[8 * j + 2 * t + 1];
        float d[4] = {z0, z1, z0, z1};
#pragma unroll
        for (int s = 0; s < sixteens<D>; ++s) {
          const Pair b = shared.across[(j * sixteens<D> + s) * 32 + lane];
          mma_k16(d, v.a[s], b.v[0], b.v[1]);
        }
        float e[4] = {own[0], own[0], own[1], own[1]};
        add_exponents(e, k, shared.rows + j * sixteens<D> * 32);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const float power = exp2_fast(e[n]);
          slope[half][n] = d[n] * power;
          total[n / 2] += slope[half][n];
          f[half][n] = power + offset[n / 2];
        }
      }
      u32 a[4];
      as_left(f[0], f[1], a);
      add_product(to_v, a, shared.state + kk * (blocks + 1) * 32);
      as_left(slope[0], slope[1], a);
      add_product(to_k, a, shared.back + kk * blocks * 32);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] = sum_of_quad(total[r]);
      if (t == 0) all += total[r];
      const float less = total[r] * p.factor * p.factor;
#pragma unroll
      for (int j = 0; j < blocks; ++j) {
        to_k[j][2 * r] -= less * low_bf16(k.at(j, r));
        to_k[j][2 * r + 1] -= less * high_bf16(k.at(j, r));
      }
    }
    if (dk.wanted())
      put_tokens<D>(to_k, dk.head(at.b, at.h), dk.s.row, tile * i, p.Nk, dk.mode == GradMode::accumulate);
    if (!dv.wanted()) continue;
    float out[blocks][4];
#pragma unroll
    for (int j = 0; j < blocks; ++j)
#pragma unroll
      for (int n = 0; n < 4; ++n) out[j][n] = to_v[j][n];
    put_tokens<D>(out, dv.head(at.b, at.h), dv.s.row, tile * i, p.Nk, dv.mode == GradMode::accumulate);
  }
  all = warp_sum(all);
  if (lane == 0) totals[at.item * at.count + at.warp] = all;
}

__global__ void settle_kernel(Problem p, const index_t* attained, const float* totals, int parts,
                              Heads<bf16> dk) {
  const index_t item = blockIdx.x, where = attained[item];
  if (where < 0) return;
  const int b = int(item / p.H), h = int(item % p.H), lane = int(threadIdx.x);
  float total = 0;
  for (int i = lane; i < parts; i += 32) total += totals[item * parts + i];
  total = warp_sum(total);
  const index_t n = where / p.R, r = where % p.R;
  const bf16* k = p.k.head(b, h) + n * p.k.s.row;
  for (int d = lane; d < p.D; d += 32) {
    const float row = p.rows[(h * index_t{p.R} + r) * p.D + d];
    put(dk.head(b, h) + n * dk.s.row + d, -total * p.factor * (row - p.factor * to_compute(k[d])), true);
  }
}

}  // namespace

int key_gradient_parts(const Problem& p) { return splits_of(p, p.Nk) * warps; }

void key_gradients(const Problem& p, const float* c, const float* maximum, const float* slope,
                   float* totals, const GradOf<bf16>& dk, const GradOf<bf16>& dv) {
  const int splits = splits_of(p, p.Nk);
  with_width(p.D, [&]<int D>() {
    const int bytes = Shared<D>::bytes(p.R, true);
    allow_shared(keys_kernel<D>, bytes, "performer_keys");
    keys_kernel<D><<<unsigned(p.heads() * splits), threads, bytes, stream()>>>(p, splits, c, maximum, slope, totals, dk, dv);
    check_launch("performer_keys");
  });
}

void settle_maxima(const Problem& p, const index_t* attained, const float* totals,
                   const GradOf<bf16>& dk) {
  settle_kernel<<<unsigned(p.heads()), 32, 0, stream()>>>(p, attained, totals, key_gradient_parts(p), dk);
  check_launch("performer_settle");
}

}  // namespace flr::cuda::performer
