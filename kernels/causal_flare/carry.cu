// From what every segment leaves by itself to what it starts from, in order of the segments. A
// thread has one number of the states; those of a latent all follow its L. Bound by memory.
#include "causal_flare/ranges.cuh"

namespace flr::cuda::latents {
namespace {

constexpr int ahead = 8;  ///< segments fetched before the first is used
constexpr float log2_e = 1.44269504f, ln_2 = 0.693147181f;

/// The numbers of one head, one for each latent and row of a state.
struct Shape {
  index_t heads, segments;
  int M, rows;
};

__global__ void __launch_bounds__(threads)
    carry_kernel(Shape n, States states, const float* own_lse, Carried c, int latents,
                 int columns) {
  const index_t at = index_t{blockIdx.x} * threads + threadIdx.x, size = index_t{n.rows} * n.M;
  if (at >= n.heads * size) return;
  const index_t head = at / size;
  const int m = int(at % n.M), d = int(at % size / n.M);
  const index_t latent = head * latents + m;
  const bool real = m < latents && d < columns;
  float lse = log_zero, z = 0;
  if (real && c.lse_in) {
    lse = fmaxf(c.lse_in[latent] * log2_e, log_zero);
    z = c.z_in[latent * columns + d];
  }
  float* line = states.z + head * n.segments * size + at % size;
  const float* own = own_lse + head * n.segments * n.M + m;
  float* starts = states.lse + head * (n.segments + 1) * n.M + m;
  for (index_t k = 0; k < n.segments; k += ahead) {
    float own_z[ahead], its_lse[ahead];
#pragma unroll
    for (int e = 0; e < ahead; ++e) {
      own_z[e] = k + e < n.segments ? line[(k + e) * size] : 0.0f;
      its_lse[e] = k + e < n.segments ? own[(k + e) * n.M] : log_zero;
    }
#pragma unroll
    for (int e = 0; e < ahead; ++e) {
      if (k + e >= n.segments) continue;
      line[(k + e) * size] = z;
      if (d == 0) starts[(k + e) * n.M] = lse;
      const float next = log2_add(lse, its_lse[e]);
      z = z * exp2_fast(lse - next) + own_z[e] * exp2_fast(its_lse[e] - next);
      lse = next;
    }
  }
  if (d == 0) starts[n.segments * n.M] = lse;
  if (!real || !c.lse_out) return;
  if (d == 0) c.lse_out[latent] = lse > 0.5f * log_zero ? lse * ln_2 : log_zero;
  c.z_out[latent * columns + d] = z;
}

__global__ void __launch_bounds__(threads)
    carry_back_kernel(Shape n, float* beyond, const float* starts) {
  const index_t at = index_t{blockIdx.x} * threads + threadIdx.x, size = index_t{n.rows} * n.M;
  if (at >= n.heads * size) return;
  const index_t head = at / size;
  float* line = beyond + head * n.segments * size + at % size;
  starts += head * (n.segments + 1) * n.M + at % n.M;
  float sum = 0, after = starts[n.segments * n.M];
  for (index_t k = n.segments; k > 0; k -= ahead) {
    float own[ahead], before[ahead];
#pragma unroll
    for (int e = 0; e < ahead; ++e) {
      own[e] = k > e ? line[(k - 1 - e) * size] : 0.0f;
      before[e] = k > e ? starts[(k - 1 - e) * n.M] : 0.0f;
    }
#pragma unroll
    for (int e = 0; e < ahead; ++e) {
      if (k <= e) continue;
      line[(k - 1 - e) * size] = sum;
      sum = own[e] + sum * exp2_fast(before[e] - after);
      after = before[e];
    }
  }
}

unsigned blocks_of(const Shape& n) {
  return unsigned(ceil_div(n.heads * n.rows * n.M, threads));
}

}  // namespace

void carry(const States& states, const float* own_lse, const Carried& carried, index_t heads,
           index_t segments, int latents, int columns, int M, int W) {
  const Shape n{heads, segments, M, W};
  carry_kernel<<<blocks_of(n), threads, 0, stream()>>>(n, states, own_lse, carried, latents,
                                                       columns);
  check_launch("causal_flare, carry");
}

void carry_back(float* beyond, const float* lse, index_t heads, index_t segments, int M, int W) {
  const Shape n{heads, segments, M, W + 1};
  carry_back_kernel<<<blocks_of(n), threads, 0, stream()>>>(n, beyond, lse);
  check_launch("causal_flare, carry back");
}

}  // namespace flr::cuda::latents
