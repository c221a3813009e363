// Mean cross-entropy over the rows that have a label, and its gradient.
//
//   loss = Σ (lse(z) − z_label)/count,  dz = (exp(z − lse) − onehot) · dloss/count
//
// Bound by memory: the logits are read once (max and sum online), by a warp a row, or a block where
// classes are many. Each block adds the losses of its rows in double; a second launch adds the
// blocks in order. A label outside [0, classes) that is not `ignore` makes loss and gradient NaN:
// nothing is read there, and nothing is trained on it.
#include "common/rows.cuh"
#include "table.hpp"

namespace flr::cuda {
namespace {

constexpr index_t warp_classes = 2048;  // up to here a warp takes a row

/// What a block found: the losses of its rows and how many of them have a label.
struct BlockLoss {
  double loss;
  index_t count;
};

template <int Lanes, int Width, class T>
__global__ void __launch_bounds__(row_threads)
    cross_entropy_rows(CrossEntropyParams<T> p, BlockLoss* found) {
  using C = compute_t<T>;
  using P = Pack<T, Width>;
  __shared__ C part[row_threads / 32];
  __shared__ double losses[row_threads / 32];
  __shared__ double counts[row_threads / 32];
  constexpr int rows = row_threads / Lanes;
  const int lane = int(threadIdx.x) % Lanes;
  double loss = 0, count = 0;
  for (index_t first = index_t{blockIdx.x} * rows; first < p.rows;
       first += index_t{gridDim.x} * rows) {
    const index_t row = first + int(threadIdx.x) / Lanes;
    const T* z = p.logits + row * p.classes;
    C top = -C(INFINITY), sum = 0;
    if (row < p.rows) {
#pragma unroll 2
      for (index_t j = lane * Width; j < p.classes; j += Lanes * Width) {
        const P pack = *reinterpret_cast<const P*>(z + j);
        C high = top;
#pragma unroll
        for (int v = 0; v < Width; ++v)
          if (to_compute(pack.v[v]) > high) high = to_compute(pack.v[v]);
        if (high > top) sum *= exp(top - high), top = high;
        // As long as nothing but −∞ was seen, the shift is 0 and the sum stays 0.
        const C shift = top == -C(INFINITY) ? C(0) : top;
#pragma unroll
        for (int v = 0; v < Width; ++v) sum += exp(to_compute(pack.v[v]) - shift);
      }
    }
    const C row_top = group_max<Lanes>(top, part);
    // A lane that saw nothing has sum 0; a row of nothing but −∞ has no distribution: NaN.
    sum = group_sum<Lanes>(sum * exp(top - row_top), part);
    if (lane > 0 || row >= p.rows) continue;
    const double log_sum = log(static_cast<double>(sum));
    p.lse[row] = C(static_cast<double>(row_top) + log_sum);
    const index_t label = p.labels[row];
    if (label == p.ignore) continue;
    count += 1;
    loss += label >= 0 && label < p.classes
                ? static_cast<double>(row_top) - static_cast<double>(to_compute(z[label])) + log_sum
                : static_cast<double>(NAN);
  }
  loss = block_sum<row_threads>(loss, losses);
  count = block_sum<row_threads>(count, counts);
  if (threadIdx.x == 0) found[blockIdx.x] = {loss, static_cast<index_t>(count)};
}

template <class T>
__global__ void __launch_bounds__(row_threads)
    cross_entropy_mean(CrossEntropyParams<T> p, const BlockLoss* found, int blocks) {
  using C = compute_t<T>;
  __shared__ double part[row_threads / 32];
  double loss = 0, count = 0;
  for (int b = int(threadIdx.x); b < blocks; b += row_threads)
    loss += found[b].loss, count += static_cast<double>(found[b].count);
  loss = block_sum<row_threads>(loss, part);
  count = block_sum<row_threads>(count, part);
  if (threadIdx.x > 0) return;
  *p.count = C(count);
  *p.loss = C(count > 0 ? loss / count : 0.0);
}

template <int Lanes, int Width, class T>
__global__ void __launch_bounds__(row_threads)
    cross_entropy_slopes(CrossEntropyBackwardParams<T> p) {
  using C = compute_t<T>;
  using P = Pack<T, Width>;
  constexpr int rows = row_threads / Lanes;
  const bool add = p.mode == GradMode::accumulate;
  const C scale = *p.count > 0 ? *p.dloss / *p.count : C(0);
  for (index_t row = index_t{blockIdx.x} * rows + int(threadIdx.x) / Lanes; row < p.rows;
       row += index_t{gridDim.x} * rows) {
    const index_t label = p.labels[row], at = row * p.classes;
    const bool labelled = label != p.ignore;
    const bool valid = label >= 0 && label < p.classes;
    const C lse = p.lse[row], row_scale = valid ? scale : C(NAN);
#pragma unroll 2
    for (index_t j = int(threadIdx.x) % Lanes * Width; j < p.classes; j += Lanes * Width) {
      const P z = *reinterpret_cast<const P*>(p.logits + at + j);
      P d{};
      if (add) d = *reinterpret_cast<const P*>(p.dlogits + at + j);
#pragma unroll
      for (int v = 0; v < Width; ++v) {
        const C e = exp(to_compute(z.v[v]) - lse) - C(j + v == label);
        put(&d.v[v], labelled ? e * row_scale : C(0), add);
      }
      *reinterpret_cast<P*>(p.dlogits + at + j) = d;
    }
  }
}

/// Calls f(lanes, width) with both as constants.
template <class T, class F>
void with_lanes(index_t classes, bool aligned, F&& f) {
  using Warp = std::integral_constant<int, 32>;
  using Block = std::integral_constant<int, row_threads>;
  using One = std::integral_constant<int, 1>;
  using Many = std::integral_constant<int, pack_width<T>>;
  const bool packs = aligned && classes % pack_width<T> == 0;
  if (classes <= warp_classes)
    packs ? f(Warp{}, Many{}) : f(Warp{}, One{});
  else
    packs ? f(Block{}, Many{}) : f(Block{}, One{});
}

}  // namespace

template <class T>
void cross_entropy(const CrossEntropyParams<T>& p) {
  // By the sizes only: the order of the sum is the same on every device.
  const index_t full = ceil_div(p.rows, p.classes <= warp_classes ? row_threads / 32 : 1);
  const int blocks = int(full < 1056 ? full : 1056);
  const Scratch<BlockLoss> found(blocks);
  if (blocks > 0) {
    with_lanes<T>(p.classes, aligned_16(p.logits), [&](auto lanes, auto width) {
      cross_entropy_rows<decltype(lanes)::value, decltype(width)::value>
          <<<unsigned(blocks), row_threads, 0, stream()>>>(p, found.data());
    });
    check_launch("cross_entropy");
  }
  cross_entropy_mean<<<1, row_threads, 0, stream()>>>(p, found.data(), blocks);
  check_launch("cross_entropy mean");
}

template <class T>
void cross_entropy_backward(const CrossEntropyBackwardParams<T>& p) {
  if (p.mode == GradMode::ignore || p.rows == 0 || p.classes == 0) return;
  with_lanes<T>(p.classes, aligned_16(p.logits, p.dlogits), [&](auto lanes, auto width) {
    constexpr int group = decltype(lanes)::value;
    cross_entropy_slopes<group, decltype(width)::value>
        <<<grid_for(p.rows, row_threads / group), row_threads, 0, stream()>>>(p);
  });
  check_launch("cross_entropy_backward");
}

template void cross_entropy(const CrossEntropyParams<float>&);
template void cross_entropy(const CrossEntropyParams<double>&);
template void cross_entropy(const CrossEntropyParams<bf16>&);
template void cross_entropy_backward(const CrossEntropyBackwardParams<float>&);
template void cross_entropy_backward(const CrossEntropyBackwardParams<double>&);
template void cross_entropy_backward(const CrossEntropyBackwardParams<bf16>&);

}  // namespace flr::cuda
