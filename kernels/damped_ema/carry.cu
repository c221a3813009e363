// From chunk to chunk: what each leaves becomes what the next starts from.
//
//   s' = r^L s + (what the chunk left)
//   u' = r^L u + L r^(L−1) s + (what the chunk left),   u = ∂s/∂r
// One thread an order and channel, the chunks in order; states are fetched several chunks ahead.
#include "damped_ema/chunks.cuh"

namespace flr::cuda::damped_ema_parts {
namespace {

/// r^n for n ≥ 0, by squaring; in double, so that it is the float nearest to what n steps multiply.
__device__ double power(double r, index_t n) {
  double result = 1;
  for (; n > 0; n /= 2, r *= r)
    if (n % 2) result *= r;
  return result;
}

template <class T, bool Slopes>
__global__ void __launch_bounds__(threads) carry_kernel(Problem<T> p, float* states, float* slopes,
                                                        bool back) {
  const index_t line = p.order * p.channels, batches = p.rows / p.chunks;
  const index_t at = index_t{blockIdx.x} * threads + threadIdx.x;
  if (at >= batches * line) return;
  const index_t channel = at % p.channels, j = at / p.channels % p.order, batch = at / line;
  const double r = p.decay[channel * p.order + j];
  const float over = float(power(r, p.length));
  const float slope = Slopes ? float(double(p.length) * power(r, p.length - 1)) : 0.0f;
  const auto place = [&](index_t k) {
    return (batch * p.chunks + (back ? p.chunks - 1 - k : k)) * line + at % line;
  };
  float s = 0, u = 0;
  for (index_t k = 0; k < p.chunks; k += fetched) {
    float left[fetched], left_slope[fetched];
#pragma unroll
    for (int e = 0; e < fetched; ++e) {
      const bool inside = k + e < p.chunks;
      left[e] = inside ? states[place(k + e)] : 0.0f;
      left_slope[e] = Slopes && inside ? slopes[place(k + e)] : 0.0f;
    }
#pragma unroll
    for (int e = 0; e < fetched; ++e) {
      if (k + e >= p.chunks) continue;
      states[place(k + e)] = s;
      if (Slopes) {
        slopes[place(k + e)] = u;
        u = fmaf(over, u, fmaf(slope, s, left_slope[e]));
      }
      s = fmaf(over, s, left[e]);
    }
  }
}

}  // namespace

template <class T>
void carry(const Problem<T>& p, float* states, float* slopes, bool back) {
  const index_t lines = p.rows / p.chunks * p.order * p.channels;
  const unsigned blocks = unsigned(ceil_div(lines, threads));
  if (slopes)
    carry_kernel<T, true><<<blocks, threads, 0, stream()>>>(p, states, slopes, back);
  else
    carry_kernel<T, false><<<blocks, threads, 0, stream()>>>(p, states, slopes, back);
  check_launch("damped_ema, carry");
}

template void carry(const Problem<float>&, float*, float*, bool);
template void carry(const Problem<bf16>&, float*, float*, bool);

}  // namespace flr::cuda::damped_ema_parts
