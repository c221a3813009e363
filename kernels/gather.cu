// Elements picked along the middle axis of [outer, n, inner] by an index, and their gradient.
//
//   y[o,j,i] = x[o, index[o,j,i], i];   dx[o, index[o,j,i], i] += dy[o,j,i]
//
// Bound by memory (the index alone is 8 bytes an element). Elements of dx meet only within a column
// (o, i): where columns are many or short a thread walks its column in order of j. Otherwise the
// gradient is that of an embedding of width 1 whose table is dx, which sorts and adds in that
// order, too. Sums are formed in the compute type and rounded once. An index outside [0, n) gives
// NaN, and no gradient.
#include "common/device.cuh"
#include "table.hpp"

namespace flr::cuda {
namespace {

constexpr int threads = 256;

template <class T>
__global__ void __launch_bounds__(threads) pick(GatherParams<T> p) {
  const index_t total = p.outer * p.m * p.inner;
  for (index_t at = index_t{blockIdx.x} * threads + threadIdx.x; at < total;
       at += index_t{gridDim.x} * threads) {
    const index_t k = p.index[at];
    const index_t o = at / (p.m * p.inner), i = at % p.inner;
    p.y[at] =
        k >= 0 && k < p.n ? p.x[(o * p.n + k) * p.inner + i] : from_compute<T>(compute_t<T>(NAN));
  }
}

template <class T>
__global__ void __launch_bounds__(threads)
    add_columns(GatherBackwardParams<T> p, compute_t<T>* dx) {
  for (index_t column = index_t{blockIdx.x} * threads + threadIdx.x; column < p.outer * p.inner;
       column += index_t{gridDim.x} * threads) {
    const index_t o = column / p.inner, i = column % p.inner;
    compute_t<T>* const to = dx + o * p.n * p.inner + i;
    const index_t from = o * p.m * p.inner + i;
    for (index_t j = 0; j < p.m; ++j) {
      const index_t k = p.index[from + j * p.inner];
      if (k >= 0 && k < p.n) to[k * p.inner] += to_compute(p.dy[from + j * p.inner]);
    }
  }
}

/// Where in dx each element of dy goes; −1 for nowhere.
template <class T>
__global__ void __launch_bounds__(threads) targets(GatherBackwardParams<T> p, index_t* to) {
  const index_t total = p.outer * p.m * p.inner;
  for (index_t at = index_t{blockIdx.x} * threads + threadIdx.x; at < total;
       at += index_t{gridDim.x} * threads) {
    const index_t k = p.index[at];
    const index_t o = at / (p.m * p.inner), i = at % p.inner;
    to[at] = k >= 0 && k < p.n ? (o * p.n + k) * p.inner + i : -1;
  }
}

template <class T>
__global__ void __launch_bounds__(threads)
    round_sums(const compute_t<T>* sums, T* dx, index_t n, bool accumulate) {
  for (index_t at = index_t{blockIdx.x} * threads + threadIdx.x; at < n;
       at += index_t{gridDim.x} * threads)
    put(dx + at, sums[at], accumulate);
}

/// dx in the compute type, written or added to as `mode` says.
template <class T>
void scatter(const GatherBackwardParams<T>& p, compute_t<T>* dx, GradMode mode) {
  constexpr index_t most = (index_t{1} << 31) - 1;
  const index_t columns = p.outer * p.inner, from = columns * p.m, size = columns * p.n;
  if (p.m <= 256 || columns >= 32768 || from > most || size >= most) {
    if (mode == GradMode::overwrite)
      check_cuda(cudaMemsetAsync(dx, 0, std::size_t(size) * sizeof(*dx), stream()),
                 "gather_backward zeros");
    if (from == 0) return;
    add_columns<<<grid_for(columns, threads), threads, 0, stream()>>>(p, dx);
    check_launch("gather_backward");
    return;
  }
  const Scratch<index_t> to(from);
  targets<<<grid_for(from, threads), threads, 0, stream()>>>(p, to.data());
  check_launch("gather_backward targets");
  EmbeddingBackwardParams<T> e;
  e.rows = from, e.entries = size, e.width = 1;
  e.index = to, e.dy = p.dy, e.dtable = dx, e.mode = mode;
  embedding_backward(e);
}

}  // namespace

template <class T>
void gather(const GatherParams<T>& p) {
  const index_t total = p.outer * p.m * p.inner;
  if (total == 0) return;
  pick<<<grid_for(total, threads), threads, 0, stream()>>>(p);
  check_launch("gather");
}

template <class T>
void gather_backward(const GatherBackwardParams<T>& p) {
  const index_t size = p.outer * p.n * p.inner;
  if (p.dx_mode == GradMode::ignore || size == 0) return;
  if constexpr (std::same_as<T, compute_t<T>>) {
    scatter(p, p.dx, p.dx_mode);
  } else {
    const Scratch<compute_t<T>> sums(size);
    scatter(p, sums.data(), GradMode::overwrite);
    round_sums<<<grid_for(size, threads), threads, 0, stream()>>>(
        sums.data(), p.dx, size, p.dx_mode == GradMode::accumulate);
    check_launch("gather_backward rounding");
  }
}

template void gather(const GatherParams<float>&);
template void gather(const GatherParams<double>&);
template void gather(const GatherParams<bf16>&);
template void gather_backward(const GatherBackwardParams<float>&);
template void gather_backward(const GatherBackwardParams<double>&);
template void gather_backward(const GatherBackwardParams<bf16>&);

}  // namespace flr::cuda
