// Softmax and log-softmax over the middle axis of [outer, n, inner], and their gradients.
//
//   y = exp(x − max)/Σ, dx = y (dy − Σ y dy);   log: y = x − max − log Σ, dx = dy − eʸ Σ dy.
//
// Bound by memory: x is read and y written once. With inner = 1 a row lives in the registers of
// 1 … 256 lanes (common/rows.cuh), the next one being fetched meanwhile. Otherwise, and for longer
// rows, max and sum are found online in one pass and y is written in a second
// (common/columns.cuh).
#include "common/columns.cuh"
#include "common/rows.cuh"
#include "table.hpp"

namespace flr::cuda {
namespace {

template <class C>
__device__ C lowest() {
  return -C(INFINITY);
}

template <class Layout, class T>
__global__ void __launch_bounds__(row_threads) softmax_rows(SoftmaxParams<T> p) {
  using C = compute_t<T>;
  constexpr int values = Layout::values;
  __shared__ C part[row_threads / 32];
  const int n = int(p.n), in_block = int(threadIdx.x) / Layout::lanes;
  const index_t step = index_t{gridDim.x} * Layout::rows;
  RowPacks<Layout, T> next;
  index_t first = index_t{blockIdx.x} * Layout::rows;
  next.load(p.x, first + in_block, p.outer, n);
  for (; first < p.outer; first += step) {
    const index_t row = first + in_block;
    RowPacks<Layout, T> x = next;
    next.load(p.x, row + step, p.outer, n);
    C top = lowest<C>(), sum = 0, e[values];
#pragma unroll
    for (int v = 0; v < values; ++v)
      if (x.inside(v, n) && x.value(v) > top) top = x.value(v);
    top = group_max<Layout::lanes>(top, part);
#pragma unroll
    for (int v = 0; v < values; ++v) {
      e[v] = x.inside(v, n) ? exp(x.value(v) - top) : C(0);
      sum += e[v];
    }
    sum = group_sum<Layout::lanes>(sum, part);
    const C c = p.log ? log(sum) : 1 / sum;
#pragma unroll
    for (int v = 0; v < values; ++v) x.set(v, p.log ? x.value(v) - top - c : e[v] * c);
    x.store(p.y, row, p.outer, n);
  }
}

template <class Layout, class T>
__global__ void __launch_bounds__(row_threads) softmax_backward_rows(SoftmaxBackwardParams<T> p) {
  using C = compute_t<T>;
  constexpr int values = Layout::values;
  __shared__ C part[row_threads / 32];
  const int n = int(p.n), in_block = int(threadIdx.x) / Layout::lanes;
  const index_t step = index_t{gridDim.x} * Layout::rows;
  const bool add = p.dx_mode == GradMode::accumulate;
  RowPacks<Layout, T> next_y, next_dy;
  index_t first = index_t{blockIdx.x} * Layout::rows;
  next_y.load(p.y, first + in_block, p.outer, n);
  next_dy.load(p.dy, first + in_block, p.outer, n);
  for (; first < p.outer; first += step) {
    const index_t row = first + in_block;
    RowPacks<Layout, T> y = next_y, dy = next_dy;
    next_y.load(p.y, row + step, p.outer, n);
    next_dy.load(p.dy, row + step, p.outer, n);
    C sum = 0;
    // Beyond the row's end dy is 0.
#pragma unroll
    for (int v = 0; v < values; ++v) sum += p.log ? dy.value(v) : y.value(v) * dy.value(v);
    sum = group_sum<Layout::lanes>(sum, part);
    RowPacks<Layout, T> dx;
    if (add) dx.load(p.dx, row, p.outer, n);
#pragma unroll
    for (int v = 0; v < values; ++v) {
      const C slope =
          p.log ? dy.value(v) - exp(y.value(v)) * sum : y.value(v) * (dy.value(v) - sum);
      dx.set(v, add ? dx.value(v) + slope : slope);
    }
    dx.store(p.dx, row, p.outer, n);
  }
}

/// The running maximum of a column and Σ exp(x − max), in double: n has no bound.
template <class T>
struct SoftmaxColumns {
  using C = compute_t<T>;
  struct State {
    C top;
    double sum;
  };
  SoftmaxParams<T> p;

  __device__ State empty() const { return {lowest<C>(), 0}; }
  __device__ void add(State& s, index_t at, index_t stride, int count) const {
    C x[column_batch], top = s.top, sum = 0;
#pragma unroll
    for (int k = 0; k < column_batch; ++k)
      x[k] = k < count ? to_compute(p.x[at + k * stride]) : lowest<C>();
#pragma unroll
    for (int k = 0; k < column_batch; ++k) top = x[k] > top ? x[k] : top;
    if (top == lowest<C>()) return;  // nothing seen yet: −∞ − (−∞) is no number
#pragma unroll
    for (int k = 0; k < column_batch; ++k) sum += exp(x[k] - top);
    if (top > s.top) s.sum *= static_cast<double>(exp(s.top - top));
    s = {top, s.sum + static_cast<double>(sum)};
  }
  __device__ State merge(const State& a, const State& b) const {
    const C top = a.top > b.top ? a.top : b.top;
    if (top == lowest<C>()) return a;
    return {top, a.sum * static_cast<double>(exp(a.top - top)) +
                     b.sum * static_cast<double>(exp(b.top - top))};
  }
  __device__ void write(const State& s, index_t at) const {
    const C x = to_compute(p.x[at]) - s.top;
    p.y[at] = from_compute<T>(p.log ? x - C(log(s.sum)) : exp(x) * C(1 / s.sum));
  }
};

template <class T>
struct SoftmaxBackwardColumns {
  using C = compute_t<T>;
  using State = double;
  SoftmaxBackwardParams<T> p;

  __device__ State empty() const { return 0; }
  __device__ void add(State& s, index_t at, index_t stride, int count) const {
    C y[column_batch], dy[column_batch];
#pragma unroll
    for (int k = 0; k < column_batch; ++k) {
      dy[k] = k < count ? to_compute(p.dy[at + k * stride]) : C(0);
      y[k] = k < count && !p.log ? to_compute(p.y[at + k * stride]) : C(1);
    }
#pragma unroll
    for (int k = 0; k < column_batch; ++k)
      s += static_cast<double>(dy[k]) * static_cast<double>(y[k]);
  }
  __device__ State merge(State a, State b) const {
    return a + b;
  }
  __device__ void write(State s, index_t at) const {
    const C y = to_compute(p.y[at]), dy = to_compute(p.dy[at]), sum = C(s);
    put(p.dx + at, p.log ? dy - exp(y) * sum : y * (dy - sum), p.dx_mode == GradMode::accumulate);
  }
};

}  // namespace

template <class T>
void softmax(const SoftmaxParams<T>& p) {
  if (p.n == 0 || p.outer == 0 || p.inner == 0) return;
  if (p.inner == 1 && with_row_layout<T>(p.n, aligned_16(p.x, p.y), [&](auto layout) {
        using Layout = decltype(layout);
        softmax_rows<Layout><<<grid_for(p.outer, Layout::rows), row_threads, 0, stream()>>>(p);
        check_launch("softmax");
      }))
    return;
  over_columns(SoftmaxColumns<T>{p}, p.outer, p.n, p.inner, "softmax");
}

template <class T>
void softmax_backward(const SoftmaxBackwardParams<T>& p) {
  if (p.dx_mode == GradMode::ignore || p.n == 0 || p.outer == 0 || p.inner == 0) return;
  if (p.inner == 1 && with_row_layout<T>(p.n, aligned_16(p.y, p.dy, p.dx), [&](auto layout) {
        using Layout = decltype(layout);
        softmax_backward_rows<Layout>
            <<<grid_for(p.outer, Layout::rows), row_threads, 0, stream()>>>(p);
        check_launch("softmax_backward");
      }))
    return;
  over_columns(SoftmaxBackwardColumns<T>{p}, p.outer, p.n, p.inner, "softmax_backward");
}

template void softmax(const SoftmaxParams<float>&);
template void softmax(const SoftmaxParams<double>&);
template void softmax(const SoftmaxParams<bf16>&);
template void softmax_backward(const SoftmaxBackwardParams<float>&);
template void softmax_backward(const SoftmaxBackwardParams<double>&);
template void softmax_backward(const SoftmaxBackwardParams<bf16>&);

}  // namespace flr::cuda
