// Exponents of a warp's tokens, and what else its passes share.
#pragma once

#include "common/device.cuh"
#include "favor/problem.hpp"

namespace flr::cuda::favor {

using Four = Pack<float, 4>;
inline constexpr float hidden = -1e30f;

/// The greater one, or a NaN where there is one.
__device__ inline float greater(float x, float y) {
  return y > x || y != y ? y : x;
}
__device__ inline float warp_greatest(float x) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) x = greater(x, __shfl_xor_sync(0xffffffffu, x, d));
  return x;
}

/// A block's place and its memory; `F` features a lane.
template <class T, int F>
struct Walk {
  static constexpr int tokens = tokens_of(F), pitch = pitch_of(F), group = tokens * warps;
  const Problem<T>& p;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  index_t head, b, h, first_group, end_group;
  float *rows, *x,
      *slopes;  ///< of the block: [depth,pitch]; of this warp: [tokens,width], [tokens,32·F]

  __device__ Walk(const Problem<T>& problem, void* memory) : p(problem) {
    head = blockIdx.x / p.splits, b = head / p.H, h = head % p.H;
    first_group = blockIdx.x % p.splits * p.split_groups;
    end_group = first_group + p.split_groups < p.groups ? first_group + p.split_groups : p.groups;
    rows = static_cast<float*>(memory);
    x = rows + p.depth * pitch + warp * tokens * p.width;
    slopes = rows + p.depth * pitch + warps * tokens * p.width + warp * tokens * 32 * F;
    if (p.depth >= p.D) load_rows(0), __syncthreads();
  }

  __device__ index_t tile(index_t at) const { return at * warps + warp; }
  __device__ index_t token(index_t at, int t) const { return tile(at) * tokens + t; }
  __device__ bool shown(index_t n) const {
    return n < p.N && (!p.keep || p.keep[b * p.keep_batch + n]);
  }

  __device__ void load_rows(int begin) {
    const float* from = p.rows + h * p.R * p.D + begin;
    for (int i = threadIdx.x; i < 32 * F * p.depth; i += threads) {
      const int r = i / p.depth, k = i % p.depth;
      rows[k * pitch + r] = r < p.R && begin + k < p.D ? from[index_t{r} * p.D + k] : 0.0f;
    }
  }
  /// Channels from `begin` on, where they do not lie there for good. All threads come here.
  __device__ void need_rows(int begin) {
    if (p.depth >= p.D) return;
    __syncthreads();  // the last ones are used up
    load_rows(begin);
    __syncthreads();
  }
  __device__ void load_tokens(index_t at) {
    const T* from = p.x.data + b * p.x.s.batch + h * p.x.s.head;
    for (int i = lane; i < tokens * p.width; i += 32) {
      const int t = i / p.width, k = i % p.width;
      const index_t n = token(at, t);
      x[i] = n < p.N && k < p.D ? to_compute(from[n * p.x.s.row + k]) * p.factor : 0.0f;
    }
    __syncwarp();
  }

  /// e[t][j] = ω_r·x̃ of feature r = lane + 32 j.
  __device__ void products(index_t at, float (&e)[tokens][F]) {
    load_tokens(at);
#pragma unroll
    for (int t = 0; t < tokens; ++t)
#pragma unroll
      for (int j = 0; j < F; ++j) e[t][j] = 0;
    for (int begin = 0; begin < p.D; begin += p.depth) {
      need_rows(begin);
      const int count = p.depth < p.width - begin ? p.depth : p.width - begin;
      for (int k = 0; k < count; k += 4) {
        Four own[tokens];
#pragma unroll
        for (int t = 0; t < tokens; ++t)
          own[t] = *reinterpret_cast<const Four*>(x + t * p.width + begin + k);
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float row[F];
#pragma unroll
          for (int j = 0; j < F; ++j) row[j] = rows[(k + c) * pitch + lane + 32 * j];
#pragma unroll
          for (int t = 0; t < tokens; ++t)
#pragma unroll
            for (int j = 0; j < F; ++j) e[t][j] = fmaf(own[t].v[c], row[j], e[t][j]);
        }
      }
    }
  }
  /// Takes ‖x̃‖²/2 from the products, and gives hidden tokens their exponent. The same bits in every
  /// pass, so that backward finds the maximum that forward took.
  __device__ void less_norms(index_t at, float (&e)[tokens][F]) const {
#pragma unroll
    for (int t = 0; t < tokens; ++t) {
      float square = 0;
      for (int k = lane; k < p.D; k += 32)
        square = fmaf(x[t * p.width + k], x[t * p.width + k], square);
      const float half = 0.5f * warp_sum(square);
      const bool here = shown(token(at, t));
#pragma unroll
      for (int j = 0; j < F; ++j) e[t][j] = here ? e[t][j] - half : hidden;
    }
  }
  /// The greatest one of a token, in every lane.
  __device__ float greatest(const float (&e)[F]) const {
    float most = e[0];
    if (lane >= p.R) most = -INFINITY;
#pragma unroll
    for (int j = 1; j < F; ++j)
      if (lane + 32 * j < p.R) most = greater(most, e[j]);
    return warp_greatest(most);
  }
};

}  // namespace flr::cuda::favor
