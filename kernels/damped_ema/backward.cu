// Gradients of damped moving averages.
//
//   g_j[t] = w_j dy[t] + r_j g_j[t+1],   dx[t] = Σ_j g_j[t]                (from the last step)
//   u_j[t] = s_j[t−1] + r_j u_j[t−1],    u = ∂s/∂r                          (from the first)
//   dw_j = Σ_t dy[t] s_j[t],             dr_j = w_j Σ_t dy[t] u_j[t]
// dr is also Σ g[t] s[t−1], but g and s run in opposite directions: one of them would have to be
// kept for every step of a chunk. u runs along with s and needs two registers an order.
#include "damped_ema/chunks.cuh"
#include "damped_ema/entries.hpp"

namespace flr::cuda {
namespace damped_ema_parts {
namespace {

template <class T, int Order>
__global__ void __launch_bounds__(threads) ends_forward_kernel(Problem<T> p, float* states,
                                                               float* slopes) {
  const Place<T> at(p);
  if (!at.exists) return;
  float r[Order], s[Order] = {}, u[Order] = {};
  load_rates(r, p.decay, p, at.channel);
  walk<false>(
      p, at,
      [&](index_t, float x) {
#pragma unroll
        for (int j = 0; j < Order; ++j) {
          u[j] = fmaf(r[j], u[j], s[j]);
          s[j] = fmaf(r[j], s[j], x);
        }
      },
      p.x);
  store_states(states, s, p, at);
  store_states(slopes, u, p, at);
}

/// What g leaves; the last chunk comes first, and may be shorter: it starts from nothing.
template <class T, int Order>
__global__ void __launch_bounds__(threads) ends_back_kernel(Problem<T> p, const T* dy, float* g_states) {
  const Place<T> at(p);
  if (!at.exists) return;
  float r[Order], w[Order], g[Order] = {};
  load_rates(r, p.decay, p, at.channel);
  load_rates(w, p.weight, p, at.channel);
  walk<true>(
      p, at,
      [&](index_t, float d) {
#pragma unroll
        for (int j = 0; j < Order; ++j) g[j] = fmaf(r[j], g[j], w[j] * d);
      },
      dy);
  store_states(g_states, g, p, at);
}

template <class T, int Order>
__global__ void __launch_bounds__(threads) dx_kernel(Problem<T> p, const T* dy, const float* g_states,
                                                     T* dx, bool add) {
  const Place<T> at(p);
  if (!at.exists) return;
  float r[Order], w[Order], g[Order];
  load_rates(r, p.decay, p, at.channel);
  load_rates(w, p.weight, p, at.channel);
  load_states(g, g_states, p, at);
  walk<true>(
      p, at,
      [&](index_t t, float d) {
        float sum = 0;
#pragma unroll
        for (int j = 0; j < Order; ++j) {
          g[j] = fmaf(r[j], g[j], w[j] * d);
          sum += g[j];
        }
        put(dx + at.offset(p, t), sum, add);
      },
      dy);
}

/// A chunk's terms of dr and dw, each [batch · chunks, order, channels].
template <class T, int Order>
__global__ void __launch_bounds__(threads) rates_kernel(Problem<T> p, const T* dy, const float* states,
                                                        const float* slopes, float* ddecay,
                                                        float* dweight) {
  const Place<T> at(p);
  if (!at.exists) return;
  float r[Order], s[Order], u[Order], of_decay[Order] = {}, of_weight[Order] = {};
  load_rates(r, p.decay, p, at.channel);
  load_states(s, states, p, at);
  load_states(u, slopes, p, at);
  walk<false>(
      p, at,
      [&](index_t, float x, float d) {
#pragma unroll
        for (int j = 0; j < Order; ++j) {
          u[j] = fmaf(r[j], u[j], s[j]);
          s[j] = fmaf(r[j], s[j], x);
          of_weight[j] = fmaf(d, s[j], of_weight[j]);
          of_decay[j] = fmaf(d, u[j], of_decay[j]);
        }
      },
      p.x, dy);
#pragma unroll
  for (int j = 0; j < Order; ++j)
    if (j < p.order) of_decay[j] *= p.weight[at.channel * p.order + j];
  store_states(ddecay, of_decay, p, at);
  store_states(dweight, of_weight, p, at);
}

constexpr int sum_columns = 32, sum_rows = 8;

/// to [channels, order] from parts [rows, order, channels]: every eighth row in order, then these
/// eight sums in order.
__global__ void __launch_bounds__(sum_columns* sum_rows) sum_kernel(const float* parts, index_t rows,
                                                                     index_t channels, int order,
                                                                     float* to, bool add) {
  __shared__ float shared[sum_rows][sum_columns];
  const int x = int(threadIdx.x) % sum_columns, y = int(threadIdx.x) / sum_columns;
  const index_t line = channels * order, at = index_t{blockIdx.x} * sum_columns + x;
  float sum = 0;
  if (at < line)
    for (index_t row = y; row < rows; row += sum_rows) sum += parts[row * line + at];
  shared[y][x] = sum;
  __syncthreads();
  if (y > 0 || at >= line) return;
  sum = 0;
  for (int i = 0; i < sum_rows; ++i) sum += shared[i][x];
  put(to + at % channels * order + at / channels, sum, add);
}

template <class T>
void sum_parts(const Problem<T>& p, const float* parts, float* to, GradMode mode) {
  if (mode == GradMode::ignore) return;
  const unsigned blocks = unsigned(ceil_div(p.channels * p.order, sum_columns));
  const bool add = mode == GradMode::accumulate;
  sum_kernel<<<blocks, sum_columns * sum_rows, 0, stream()>>>(parts, p.rows, p.channels, p.order, to, add);
  check_launch("damped_ema, sums");
}

template <class T>
void to_tokens(const Problem<T>& p, const DampedEmaBackwardParams<T>& params) {
  const unsigned blocks = blocks_for(p);
  const Scratch<float> memory(p.chunks > 1 ? p.rows * p.order * p.channels : 0);
  float* g = p.chunks > 1 ? static_cast<float*>(memory) : nullptr;
  const bool add = params.dx_mode == GradMode::accumulate;
  with_order(p.order, [&]<int Order>() {
    if (g) {
      ends_back_kernel<T, Order><<<blocks, threads, 0, stream()>>>(p, params.dy, g);
      check_launch("damped_ema, ends of gradients");
      carry(p, g, nullptr, true);
    }
    dx_kernel<T, Order><<<blocks, threads, 0, stream()>>>(p, params.dy, g, params.dx, add);
    check_launch("damped_ema, dx");
  });
}

template <class T>
void to_rates(const Problem<T>& p, const DampedEmaBackwardParams<T>& params) {
  const unsigned blocks = blocks_for(p);
  const index_t size = p.rows * p.order * p.channels;
  const Scratch<float> start_memory(p.chunks > 1 ? 2 * size : 0), parts_memory(2 * size);
  float* parts = parts_memory;
  float* states = p.chunks > 1 ? static_cast<float*>(start_memory) : nullptr;
  float* slopes = states ? states + size : nullptr;
  with_order(p.order, [&]<int Order>() {
    if (p.rows == 0) return;  // the sums below are then of nothing: 0
    if (states) {
      ends_forward_kernel<T, Order><<<blocks, threads, 0, stream()>>>(p, states, slopes);
      check_launch("damped_ema, ends and slopes");
      carry(p, states, slopes, false);
    }
    rates_kernel<T, Order><<<blocks, threads, 0, stream()>>>(p, params.dy, states, slopes, parts, parts + size);
    check_launch("damped_ema, rates");
  });
  sum_parts(p, parts, params.ddecay, params.ddecay_mode);
  sum_parts(p, parts + size, params.dweight, params.dweight_mode);
}

}  // namespace
}  // namespace damped_ema_parts

template <class T>
void damped_ema_backward_chunks(const DampedEmaBackwardParams<T>& params) {
  using namespace damped_ema_parts;
  const DampedEmaParams<T>& f = params.f;
  if (f.channels == 0) return;
  const Problem<T> p = problem_of(f);
  if (p.rows > 0 && params.dx_mode != GradMode::ignore) to_tokens(p, params);
  if (params.ddecay_mode != GradMode::ignore || params.dweight_mode != GradMode::ignore)
    to_rates(p, params);
}

template void damped_ema_backward_chunks(const DampedEmaBackwardParams<float>&);
template void damped_ema_backward_chunks(const DampedEmaBackwardParams<bf16>&);

}  // namespace flr::cuda
