// What carries a gradient of y = o/d on to o and to the weight d, token by token:
// do = dy/d, dd = −(dy·y)/d.
#include "causal_linear/problem.hpp"
#include "common/device.cuh"

namespace flr::cuda::causal {
namespace {

constexpr int lanes = 8;  ///< of a token

template <class T>
__global__ void __launch_bounds__(threads) coefficients_kernel(Problem<T> p, Heads<const T> y,
                                                               const float* d, float* inverse,
                                                               float* rest) {
  const int lane = int(threadIdx.x) % lanes;
  const index_t row = index_t{blockIdx.x} * (threads / lanes) + threadIdx.x / lanes;
  const bool exists = row < p.B * p.H * p.N;
  float sum = 0;
  if (exists) {
    const index_t token = row % p.N, h = row / p.N % p.H, b = row / p.N / p.H;
    const T* out = y.data + b * y.s.batch + h * y.s.head + token * y.s.row;
    const T* gradient = p.dy.data + b * p.dy.s.batch + h * p.dy.s.head + token * p.dy.s.row;
    for (int c = lane; c < p.D; c += lanes) sum = fmaf(to_compute(out[c]), to_compute(gradient[c]), sum);
  }
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (!exists || lane > 0) return;
  inverse[row] = 1.0f / d[row];
  rest[row] = -sum / d[row];
}

}  // namespace

template <class T>
void coefficients(const Problem<T>& p, const Heads<const T>& y, const float* d, float* inverse, float* rest) {
  const unsigned blocks = unsigned(ceil_div(p.B * p.H * p.N, threads / lanes));
  coefficients_kernel<T><<<blocks, threads, 0, stream()>>>(p, y, d, inverse, rest);
  check_launch("causal_linear, coefficients");
}

template void coefficients(const Problem<float>&, const Heads<const float>&, const float*, float*, float*);
template void coefficients(const Problem<bf16>&, const Heads<const bf16>&, const float*, float*, float*);

}  // namespace flr::cuda::causal
