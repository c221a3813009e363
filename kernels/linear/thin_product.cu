// y = act(a w + bias) where the depth k or the width n is at most 8: the first and the last layer
// of a network, and their input gradients.
//
// Bound by memory: the long matrices are read and written once, in packs of 16 bytes where sizes
// and alignment allow. Small depth: a thread holds the weights of its pack of columns and walks
// down the rows, whose few values all threads of a row share. Small width: up to 32 lanes share a
// row of a, the weights lie in shared memory, and shuffles add what the lanes found.
#include "../common/activation.cuh"
#include "../common/elementwise.cuh"
#include "parts.hpp"

namespace flr::cuda::dense {

namespace {

constexpr int threads = 256;

/// Bias, `pre`, activation and storing of one element.
template <class T>
__device__ inline T finish(const ThinProduct<T>& p, index_t at, compute_t<T> sum) {
  using C = compute_t<T>;
  if (p.pre) p.pre[at] = from_compute<T>(sum);
  if (p.act != Activation::identity)
    with_activation(p.act, [&](auto a) {
      sum = activation<decltype(a)::value, std::is_same_v<T, bf16>, C>(sum).value;
    });
  if (p.accumulate) sum += to_compute(p.y[at]);
  return from_compute<T>(sum);
}

/// k ≤ K. `Plain`: neither activation nor `pre`, so that the loop holds nothing but the product.
template <class T, int K, int W, bool Plain>
__global__ void __launch_bounds__(threads) depth_kernel(ThinProduct<T> p, int across, int down) {
  using C = compute_t<T>;
  const int tx = threadIdx.x % across, ty = threadIdx.x / across;
  const index_t col = (index_t{blockIdx.y} * across + tx) * W;
  if (ty >= down || col >= p.n) return;
  const int k = static_cast<int>(p.k);
  C w[K][W], bias[W];
#pragma unroll
  for (int e = 0; e < W; ++e) {
    bias[e] = p.bias ? to_compute(p.bias[col + e]) : C(0);
#pragma unroll
    for (int q = 0; q < K; ++q)
      w[q][e] = q < k ? to_compute(p.w[q * p.w_k + (col + e) * p.w_n]) : C(0);
  }
  for (index_t r = index_t{blockIdx.x} * down + ty; r < p.rows; r += index_t{gridDim.x} * down) {
    C sum[W];
#pragma unroll
    for (int e = 0; e < W; ++e) sum[e] = bias[e];
#pragma unroll
    for (int q = 0; q < K; ++q) {
      if (q >= k) break;
      const C x = to_compute(p.a[r * k + q]);
#pragma unroll
      for (int e = 0; e < W; ++e) sum[e] += x * w[q][e];
    }
    const index_t at = r * p.n + col;
    Pack<T, W> y;
    if constexpr (Plain) {
      if (p.accumulate) {
        const Pack<T, W> old = load_pack<W>(p.y + at);
#pragma unroll
        for (int e = 0; e < W; ++e) sum[e] += to_compute(old.v[e]);
      }
#pragma unroll
      for (int e = 0; e < W; ++e) y.v[e] = from_compute<T>(sum[e]);
    } else {
      for (int e = 0; e < W; ++e) y.v[e] = finish(p, at + e, sum[e]);
    }
    store_pack<W>(p.y + at, y);
  }
}

/// n ≤ N; `lanes` lanes a row, a power of two up to 32.
template <class T, int N, int W>
__global__ void __launch_bounds__(threads) columns_kernel(ThinProduct<T> p, int lanes) {
  using C = compute_t<T>;
  extern __shared__ __align__(32) unsigned char dynamic[];
  C* weights = reinterpret_cast<C*>(dynamic);  // [n,k]
  const int k = static_cast<int>(p.k), n = static_cast<int>(p.n);
  for (int i = threadIdx.x; i < n * k; i += threads)
    weights[i] = to_compute(p.w[i % k * p.w_k + i / k * p.w_n]);
  __syncthreads();

  const int lane = threadIdx.x % lanes, row_in_block = threadIdx.x / lanes;
  const int rows_at_once = threads / lanes, packs = k / W;
  for (index_t first = index_t{blockIdx.x} * rows_at_once; first < p.rows;
       first += index_t{gridDim.x} * rows_at_once) {
    const index_t r = first + row_in_block;
    C sum[N] = {};
    if (r < p.rows)
      for (int c = lane; c < packs; c += lanes) {
        const Pack<T, W> a = load_pack<W>(p.a + r * k + c * W);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          if (j >= n) break;
          const Pack<C, W> w = load_pack<W>(weights + j * k + c * W);
#pragma unroll
          for (int e = 0; e < W; ++e) sum[j] += to_compute(a.v[e]) * w.v[e];
        }
      }
#pragma unroll
    for (int j = 0; j < N; ++j)
      for (int d = lanes / 2; d > 0; d /= 2) sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], d);
    if (lane == 0 && r < p.rows)
      for (int j = 0; j < N; ++j) {
        if (j >= n) break;
        const index_t at = r * n + j;
        const C bias = p.bias ? to_compute(p.bias[j]) : C(0);
        p.y[at] = finish(p, at, sum[j] + bias);
      }
  }
}

template <int K, int W, class T>
void launch_depth(const ThinProduct<T>& p) {
  const index_t packs = p.n / W;
  const int across = static_cast<int>(packs < threads ? packs : threads), down = threads / across;
  // Columns beyond 65535 blocks of them would need weights of gigabytes.
  const dim3 grid(grid_for(ceil_div(p.rows, 4), down),
                  static_cast<unsigned>(ceil_div(packs, across)));
  if (p.act == Activation::identity && !p.pre)
    depth_kernel<T, K, W, true><<<grid, threads, 0, stream()>>>(p, across, down);
  else
    depth_kernel<T, K, W, false><<<grid, threads, 0, stream()>>>(p, across, down);
  check_launch("linear (small depth)");
}

template <int N, int W, class T>
void launch_columns(const ThinProduct<T>& p, std::size_t shared) {
  int lanes = 1;
  while (lanes < 32 && lanes < p.k / W) lanes *= 2;
  columns_kernel<T, N, W>
      <<<grid_for(p.rows, 4 * threads / lanes), threads, shared, stream()>>>(p, lanes);
  check_launch("linear (few columns)");
}

}  // namespace

template <class T>
void thin_depth(const ThinProduct<T>& p) {
  constexpr int W = pack_width<T>, half = W / 2;  // eight rows of weights: half as many columns
  const bool by_pack = p.n % W == 0 && packs_fit<W>(p.y);
  const bool by_half = p.n % half == 0 && packs_fit<half>(p.y);
  if (p.k <= 4)
    by_pack ? launch_depth<4, W>(p) : launch_depth<4, 1>(p);
  else
    by_half ? launch_depth<8, half>(p) : launch_depth<8, 1>(p);
}

template <class T>
bool thin_columns(const ThinProduct<T>& p) {
  constexpr int W = pack_width<T>;
  const std::size_t shared = static_cast<std::size_t>(p.n * p.k) * sizeof(compute_t<T>);
  if (shared > 32 * 1024) return false;
  const bool by_pack = p.k % W == 0 && packs_fit<W>(p.a);
  if (p.n <= 4)
    by_pack ? launch_columns<4, W>(p, shared) : launch_columns<4, 1>(p, shared);
  else
    by_pack ? launch_columns<8, W>(p, shared) : launch_columns<8, 1>(p, shared);
  return true;
}

template void thin_depth(const ThinProduct<float>&);
template void thin_depth(const ThinProduct<double>&);
template void thin_depth(const ThinProduct<bf16>&);
template bool thin_columns(const ThinProduct<float>&);
template bool thin_columns(const ThinProduct<double>&);
template bool thin_columns(const ThinProduct<bf16>&);

}  // namespace flr::cuda::dense
