// Relative errors of p-norm 1 or 2 a sample, averaged, and their gradients.
//
//   loss = mean ‖d‖/‖t‖, d = pred − target
//   dpred = s ‖d‖′/‖t‖,  dtarget = −dpred − s ‖d‖ ‖t‖′/‖t‖²,  s = dloss/samples,
// where ‖x‖′ is x/‖x‖₂ for p = 2 (0 at 0) and sign x for p = 1.
//
// Bound by memory (small cases: by the two launches). Each sample is cut into pieces, one a block,
// whose two sums are formed in double; a second launch, of one block, adds the pieces in order, a
// warp a sample. Backward is elementwise.
#include "common/rows.cuh"
#include "table.hpp"

namespace flr::cuda {
namespace {

constexpr int threads = 256;

/// Elements of a piece (of a multiple of `threads` packs): by the sizes only.
inline index_t piece_length(index_t samples, index_t len) {
  const index_t unit = threads * 8;
  const index_t pieces = ceil_div(1056, samples > 0 ? samples : 1);
  return ceil_div(ceil_div(len, pieces), unit) * unit;
}

template <int Width, class T>
__global__ void __launch_bounds__(threads)
    norm_sums(RelativeLossParams<T> p, index_t piece, index_t pieces, double* sums) {
  using P = Pack<T, Width>;
  __shared__ double part[threads / 32];
  for (index_t item = blockIdx.x; item < p.samples * pieces; item += gridDim.x) {
    const index_t begin = item % pieces * piece, first = item / pieces * p.len;
    const index_t end = begin + piece < p.len ? begin + piece : p.len;
    double d_sum = 0, t_sum = 0;
#pragma unroll 4
    for (index_t i = begin + threadIdx.x * Width; i < end; i += threads * Width) {
      const P pred = *reinterpret_cast<const P*>(p.pred + first + i);
      const P target = *reinterpret_cast<const P*>(p.target + first + i);
#pragma unroll
      for (int v = 0; v < Width; ++v) {
        const double t = static_cast<double>(to_compute(target.v[v]));
        const double d = static_cast<double>(to_compute(pred.v[v])) - t;
        d_sum += p.p == 2 ? d * d : fabs(d);
        t_sum += p.p == 2 ? t * t : fabs(t);
      }
    }
    d_sum = block_sum<threads>(d_sum, part);
    t_sum = block_sum<threads>(t_sum, part);
    if (threadIdx.x == 0) sums[2 * item] = d_sum, sums[2 * item + 1] = t_sum;
  }
}

template <class T>
__global__ void __launch_bounds__(1024)
    merge_norms(RelativeLossParams<T> p, index_t pieces, const double* sums) {
  using C = compute_t<T>;
  __shared__ double part[32];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  double total = 0;
  for (index_t s = warp; s < p.samples; s += 32) {
    double d = 0, t = 0;
    for (index_t j = s * pieces + lane; j < (s + 1) * pieces; j += 32)
      d += sums[2 * j], t += sums[2 * j + 1];
    d = warp_sum(d), t = warp_sum(t);
    if (p.p == 2) d = sqrt(d), t = sqrt(t);
    if (lane == 0) p.norms[2 * s] = C(d), p.norms[2 * s + 1] = C(t);
    total += d / t;
  }
  if (lane == 0) part[warp] = total;
  __syncthreads();
  if (threadIdx.x > 0) return;
  double loss = 0;
  for (int w = 0; w < 32; ++w) loss += part[w];
  *p.loss = C(loss / static_cast<double>(p.samples));
}

template <class C>
__device__ C norm_slope(C x, bool square) {
  return square ? x : C(x > 0) - C(x < 0);
}

template <int Width, class T>
__global__ void __launch_bounds__(threads)
    relative_slopes(RelativeLossBackwardParams<T> p, index_t piece, index_t pieces) {
  using C = compute_t<T>;
  using P = Pack<T, Width>;
  const bool square = p.p == 2;
  for (index_t item = blockIdx.x; item < p.samples * pieces; item += gridDim.x) {
    const index_t sample = item / pieces, begin = item % pieces * piece, first = sample * p.len;
    const index_t end = begin + piece < p.len ? begin + piece : p.len;
    const C d_norm = p.norms[2 * sample], t_norm = p.norms[2 * sample + 1];
    const C s = *p.dloss / C(p.samples);
    const C over_d = square ? (d_norm > 0 ? s / (d_norm * t_norm) : C(0)) : s / t_norm;
    const C over_t = d_norm / t_norm * (s / t_norm) / (square ? t_norm : C(1));
    for (index_t i = begin + threadIdx.x * Width; i < end; i += threads * Width) {
      const P pred = *reinterpret_cast<const P*>(p.pred + first + i);
      const P target = *reinterpret_cast<const P*>(p.target + first + i);
      P dpred, dtarget;
      if (p.dpred_mode == GradMode::accumulate)
        dpred = *reinterpret_cast<const P*>(p.dpred + first + i);
      if (p.dtarget_mode == GradMode::accumulate)
        dtarget = *reinterpret_cast<const P*>(p.dtarget + first + i);
#pragma unroll
      for (int v = 0; v < Width; ++v) {
        const C t = to_compute(target.v[v]);
        const C slope = over_d * norm_slope(to_compute(pred.v[v]) - t, square);
        put(&dpred.v[v], slope, p.dpred_mode == GradMode::accumulate);
        put(&dtarget.v[v], -slope - over_t * norm_slope(t, square),
            p.dtarget_mode == GradMode::accumulate);
      }
      if (p.dpred_mode != GradMode::ignore) *reinterpret_cast<P*>(p.dpred + first + i) = dpred;
      if (p.dtarget_mode != GradMode::ignore)
        *reinterpret_cast<P*>(p.dtarget + first + i) = dtarget;
    }
  }
}

template <class T>
bool packed(index_t len, const T* a, const T* b, const T* c = nullptr, const T* d = nullptr) {
  return len % pack_width<T> == 0 && aligned_16(a, b) && aligned_16(c, d);
}

}  // namespace

template <class T>
void relative_loss(const RelativeLossParams<T>& p) {
  const index_t piece = piece_length(p.samples, p.len);
  const index_t pieces = p.len > 0 ? ceil_div(p.len, piece) : 0;
  const Scratch<double> sums(p.samples * pieces * 2);
  if (p.samples * pieces > 0) {
    const auto kernel =
        packed(p.len, p.pred, p.target) ? norm_sums<pack_width<T>, T> : norm_sums<1, T>;
    kernel<<<grid_for(p.samples * pieces, 1), threads, 0, stream()>>>(p, piece, pieces, sums);
    check_launch("relative_loss");
  }
  merge_norms<<<1, 1024, 0, stream()>>>(p, pieces, sums.data());
  check_launch("relative_loss merge");
}

template <class T>
void relative_loss_backward(const RelativeLossBackwardParams<T>& p) {
  if (p.dpred_mode == GradMode::ignore && p.dtarget_mode == GradMode::ignore) return;
  if (p.samples == 0 || p.len == 0) return;
  const index_t piece = threads * 16, pieces = ceil_div(p.len, piece);
  const T* dpred = p.dpred_mode == GradMode::ignore ? nullptr : p.dpred;
  const T* dtarget = p.dtarget_mode == GradMode::ignore ? nullptr : p.dtarget;
  const auto kernel = packed<T>(p.len, p.pred, p.target, dpred, dtarget)
                          ? relative_slopes<pack_width<T>, T>
                          : relative_slopes<1, T>;
  kernel<<<grid_for(p.samples * pieces, 1), threads, 0, stream()>>>(p, piece, pieces);
  check_launch("relative_loss_backward");
}

template void relative_loss(const RelativeLossParams<float>&);
template void relative_loss(const RelativeLossParams<double>&);
template void relative_loss(const RelativeLossParams<bf16>&);
template void relative_loss_backward(const RelativeLossBackwardParams<float>&);
template void relative_loss_backward(const RelativeLossBackwardParams<double>&);
template void relative_loss_backward(const RelativeLossBackwardParams<bf16>&);

}  // namespace flr::cuda
