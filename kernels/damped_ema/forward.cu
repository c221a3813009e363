// Damped moving averages: what chunks leave, and the values.
#include "damped_ema/chunks.cuh"
#include "damped_ema/entries.hpp"

namespace flr::cuda {
namespace damped_ema_parts {
namespace {

template <class T, int Order>
__global__ void __launch_bounds__(threads) ends_kernel(Problem<T> p, float* states) {
  const Place<T> at(p);
  if (!at.exists) return;
  float r[Order], s[Order] = {};
  load_rates(r, p.decay, p, at.channel);
  walk<false>(
      p, at,
      [&](index_t, float x) {
#pragma unroll
        for (int j = 0; j < Order; ++j) s[j] = fmaf(r[j], s[j], x);
      },
      p.x);
  store_states(states, s, p, at);
}

template <class T, int Order>
__global__ void __launch_bounds__(threads) values_kernel(Problem<T> p, const float* states, T* y) {
  const Place<T> at(p);
  if (!at.exists) return;
  float r[Order], w[Order], s[Order];
  load_rates(r, p.decay, p, at.channel);
  load_rates(w, p.weight, p, at.channel);
  load_states(s, states, p, at);
  walk<false>(
      p, at,
      [&](index_t t, float x) {
        float sum = 0;
#pragma unroll
        for (int j = 0; j < Order; ++j) {
          s[j] = fmaf(r[j], s[j], x);
          sum = fmaf(w[j], s[j], sum);
        }
        y[at.offset(p, t)] = from_compute<T>(sum);
      },
      p.x);
}

}  // namespace
}  // namespace damped_ema_parts

template <class T>
void damped_ema_chunks(const DampedEmaParams<T>& params) {
  using namespace damped_ema_parts;
  if (params.batch == 0 || params.tokens == 0 || params.channels == 0) return;
  const Problem<T> p = problem_of(params);
  const unsigned blocks = blocks_for(p);
  const Scratch<float> memory(p.chunks > 1 ? p.rows * p.order * p.channels : 0);
  float* states = p.chunks > 1 ? static_cast<float*>(memory) : nullptr;
  with_order(p.order, [&]<int Order>() {
    if (states) {
      ends_kernel<T, Order><<<blocks, threads, 0, stream()>>>(p, states);
      check_launch("damped_ema, ends");
      carry(p, states, nullptr, false);
    }
    values_kernel<T, Order><<<blocks, threads, 0, stream()>>>(p, states, params.y);
    check_launch("damped_ema, values");
  });
}

template void damped_ema_chunks(const DampedEmaParams<float>&);
template void damped_ema_chunks(const DampedEmaParams<bf16>&);

}  // namespace flr::cuda
