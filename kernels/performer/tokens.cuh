// Sixteen queries on their way to their outputs, which forward and backward passes take alike.
#pragma once

#include <cmath>

#include "performer/fragments.cuh"

namespace flr::cuda::performer {

/// Of tokens g and g + 8: c, minus the greatest exponent, and the first feature that has it; `start`,
/// with which exponents begin: log₂ scale + c.
template <int D>
struct OwnMaximum {
  float c[2], start[2];
  int feature[2];

  __device__ OwnMaximum(const Problem& p, const Left<D>& q, const Shared<D>& shared) {
    const int t = int(threadIdx.x % 4);
    float best[2] = {-INFINITY, -INFINITY};
    feature[0] = feature[1] = 0;
    for (int j = 0; j < p.R / 8; ++j) {
      float e[4] = {};
      add_exponents(e, q, shared.rows + j * Shared<D>::steps * 32);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (e[i] > best[i / 2]) best[i / 2] = e[i], feature[i / 2] = 8 * j + 2 * t + i % 2;
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int d = 1; d < 4; d *= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, best[r], d);
        const int other_feature = __shfl_xor_sync(0xffffffffu, feature[r], d);
        if (other > best[r] || (other == best[r] && other_feature < feature[r]))
          best[r] = other, feature[r] = other_feature;
      }
      c[r] = -best[r], start[r] = log2f(p.scale) + c[r];
    }
  }
};

/// Sᵀφ(q) in a result's places, and weight[r] = φ(q)·z + ε of tokens g and g + 8.
template <int D>
__device__ void numerators(const Problem& p, const Left<D>& q, const float (&start)[2],
                           const Shared<D>& shared, float (&y)[eights<D> + 1][4], float (&weight)[2]) {
  for (int kk = 0; kk < p.R / 16; ++kk) {
    float f[2][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float e[4] = {start[0], start[0], start[1], start[1]};
      add_exponents(e, q, shared.rows + (2 * kk + half) * Shared<D>::steps * 32);
#pragma unroll
      for (int i = 0; i < 4; ++i) f[half][i] = exp2_fast(e[i]) + p.offset;
    }
    u32 a[4];
    as_left(f[0], f[1], a);
    add_product(y, a, shared.state + kk * (eights<D> + 1) * 32);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {  // columns 0 and 1 of the last block lie in the quad's first lane
    const float z = y[eights<D>][2 * r] + y[eights<D>][2 * r + 1];
    weight[r] = __shfl_sync(0xffffffffu, z, int(threadIdx.x % 32) / 4 * 4) + p.epsilon;
  }
}

}  // namespace flr::cuda::performer
