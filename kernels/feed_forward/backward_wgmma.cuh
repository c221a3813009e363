// The feed-forward layer's backward pass for 128 channels on Hopper: the formulas of backward.cu, of which a
// warpgroup computes those of 64 hidden units, so that what is read of x and dy serves all of them.
//
//   h, W₂ᵀdy [64 units, 64 rows]      both operands in shared memory, along channels
//   dW₁ += dp x, dW₂ᵀ += a dy [64 units, 128 channels]   a and dp from registers, as the sums before left them
//
// x and dy lie in panels (common/wgmma.cuh), which serve products along channels and along rows alike. Two
// warpgroups share a block's rows; while one is in its activations the tensor cores work for the other.
//
// Bound by tensor cores and activations about alike: 64000 rows, hidden 512 are 62 thousand clocks of the
// former on each of 132 multiprocessors, 35 µs, and 33M activations of some thirty instructions.
#pragma once

#include "feed_forward/backward.cuh"
#include "feed_forward/panels.cuh"

namespace flr::cuda::feed_forward {

static_assert(backward_threads == wide_threads && units == 128);  // as panels and barriers take for granted
constexpr int w1_bytes = units * wide_channels * 2, w2_bytes = w1_bytes;
/// W₁ and W₂ of a block's units, places of x and dy, and two barriers.
constexpr int wide_bytes = w1_bytes + w2_bytes + places * place_bytes<wide_channels> + 16;

template <Activation A>
__device__ void backward_wide(const FeedForwardBackwardParams<bf16>& call, index_t before, const Share& share,
                              unsigned memory, const Parts& parts) {
  constexpr int C = wide_channels, place = place_bytes<C>, row_tiles = step / 16;
  const FeedForwardParams<bf16>& p = call.f;
  const unsigned w1 = memory, w2 = w1 + w1_bytes, tiles = w2 + w2_bytes;
  const unsigned arrived = tiles + places * place, done = arrived + 8;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const int group = warp / 4, hidden = share.hidden, first_unit = share.chunk * units, own = first_unit + warp * 16;
  const int steps = (share.rows + step - 1) / step;
  const bf16 *x = p.x + (before + share.begin) * C, *dy = call.dy + (before + share.begin) * C;
  bf16* const gradients = parts.gradients + share.begin * hidden + own;

  const auto fetch = [&](int s) {
    if (s < steps) {
      const unsigned to = tiles + unsigned(s % places * place);
      copy_panels<step, C>(to, x + s * (step * C), C, share.rows - s * step);
      copy_panels<step, C>(to + step * C * 2, dy + s * (step * C), C, share.rows - s * step);
    }
    end_of_copies();  // one for each step, so that they can be counted
  };
  copy_panels<units, C>(w1, p.w1 + first_unit * C, C, hidden - first_unit);
  copy_panels<C, units>(w2, p.w2 + first_unit, hidden, C, hidden - first_unit);
  fetch(0);
  fetch(1);
  float bias[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) bias[r] = own + g + 8 * r < hidden ? to_compute(p.b1[own + g + 8 * r]) : 0.f;
  constexpr int arrivals = backward_warps * arrivals_of_warp;
  if (threadIdx.x == 0) barrier_init(arrived, arrivals), barrier_init(done, arrivals);
  wait_for_copies_but<1>();
  fence_for_wgmma();
  __syncthreads();

  // Warpgroups wait for each other only where they must: in step s for step s + 1 to have arrived, which
  // each thread sees of its own copies, and for step s − 1 to be done, whose place step s + 2 takes.
  WideSums dw1 = {}, dw2 = {};
  // db₂ is summed by the warps of the first units, sixteen channels each, in products with ones: before the
  // warpgroup's own begin, behind which they would have to wait.
  float db1[2] = {}, db2[2][4] = {};
  for (int s = 0; s < steps; ++s) {
    const unsigned x_at = tiles + unsigned(s % places * place), dy_at = x_at + step * C * 2;
    if (s > 0) barrier_wait(arrived, unsigned(s - 1) % 2);
    if (share.chunk == 0) {
#pragma unroll
      for (int j = 0; j < row_tiles; ++j) {
        Slice terms;
        load_matrices<true>(terms, dy_at + unsigned(in_panels(step, 16 * j + lane % 16, 16 * warp + lane / 16 * 8)) * 2);
        add_rows(db2[0], terms[0], terms[1]);
        add_rows(db2[1], terms[2], terms[3]);
      }
    }
    NarrowSums h, slope;
    Wgmma::begin(h);
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      Wgmma::add<false>(h, Wgmma::matrix<false, units>(w1 + unsigned(group) * (64 * 128), k),
                        Wgmma::matrix<false, step>(x_at, k), k == 0);
    Wgmma::commit();
    Wgmma::begin(slope);
#pragma unroll
    for (int k = 0; k < C / 16; ++k)
      Wgmma::add<true>(slope, Wgmma::matrix<true, C>(w2 + unsigned(group) * (C * 128), k),
                       Wgmma::matrix<false, step>(dy_at, k), k == 0);
    Wgmma::commit();
    wait_for_copies();
    fence_for_wgmma();
    warp_arrives(arrived);

    Wgmma::wait<1>(h);
    std::uint32_t a[row_tiles][4], dp[row_tiles][4];
#pragma unroll
    for (int j = 0; j < row_tiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // register i holds row g + 8 (i % 2) of units
        float& low = h[j][i / 2][i % 2 * 2];
        float& high = h[j][i / 2][i % 2 * 2 + 1];
        const auto of_low = activation<A, true>(low + bias[i % 2]), of_high = activation<A, true>(high + bias[i % 2]);
        a[j][i] = pack_bf16(of_low.value, of_high.value);
        low = of_low.slope, high = of_high.slope;
      }
    if (s > 0) barrier_wait(done, unsigned(s - 1) % 2);
    fetch(s + 2);
    Wgmma::wait<0>(slope);
    // Rows that do not exist have dy = 0: whatever their a, they add nothing.
#pragma unroll
    for (int j = 0; j < row_tiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float low = slope[j][i / 2][i % 2 * 2] * h[j][i / 2][i % 2 * 2];
        const float high = slope[j][i / 2][i % 2 * 2 + 1] * h[j][i / 2][i % 2 * 2 + 1];
        dp[j][i] = pack_bf16(low, high);
        db1[i % 2] += low + high;
      }
    Wgmma::hold(a);
    Wgmma::hold(dp);
    Wgmma::begin(dw1);
    Wgmma::begin(dw2);
#pragma unroll
    for (int j = 0; j < row_tiles; ++j) {
      Wgmma::add<true>(dw1, dp[j], Wgmma::matrix<true, step>(x_at, j));
      Wgmma::add<true>(dw2, a[j], Wgmma::matrix<true, step>(dy_at, j));
    }
    Wgmma::commit();
#pragma unroll
    for (int j = 0; j < row_tiles; ++j) {
      const int row = s * step + 16 * j;
      if (own < hidden) store_turned(gradients + index_t{row} * hidden, hidden, share.rows - row, dp[j]);
    }
    Wgmma::wait<0>(dw1);
    Wgmma::wait<0>(dw2);
    warp_arrives(done);
  }

  store_part<C>(parts.dw1, share.part, hidden, own, [&](int j, int e) { return dw1[j / 2][j % 2][e]; });
  store_part<C>(parts.dw2, share.part, hidden, own, [&](int j, int e) { return dw2[j / 2][j % 2][e]; });
#pragma unroll
  for (int r = 0; r < 2; ++r) {  // each lane of a quad has summed rows of its own
    db1[r] += __shfl_xor_sync(0xffffffffu, db1[r], 1);
    db1[r] += __shfl_xor_sync(0xffffffffu, db1[r], 2);
    if (t == 0 && own + g + 8 * r < hidden) parts.db1[index_t{share.part} * hidden + own + g + 8 * r] = db1[r];
  }
  if (share.chunk == 0 && g == 0)
#pragma unroll
    for (int j = 0; j < 2; ++j)
      tensor::put_pair(parts.db2 + index_t{share.part} * C + 16 * warp + 8 * j + 2 * t, db2[j][0], db2[j][1], false);
}

}  // namespace flr::cuda::feed_forward
