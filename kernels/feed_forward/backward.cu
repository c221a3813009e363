// The feed-forward layer's backward pass: h = W₁x + b₁ again, then
//
//   a = act(h), dp = (W₂ᵀ dy) ∘ act′(h), dW₁ = Σ dp xᵀ, db₁ = Σ dp, dW₂ = Σ dy aᵀ, db₂ = Σ dy
// over rows; dp is left in memory for dx = W₁ᵀ dp.
//
// As keys in attention's one-pass backward, a warp owns sixteen hidden units, whose weights and sums stay
// in registers, and rows pass by in shared memory. Hidden units are rows of what a warp computes, so that
// a and dp are, as they stand, A of the products that sum over rows: they do not pass through memory.
//
// Bound by shared memory, 128 bytes a clock: 64000 rows, C = 128, hidden 512 are 16 KiB for sixteen units
// and rows, 71 µs on an H100; the products, 33.6 GFLOP of m16n8k16, about 60. Hopper has a way of its own for
// them, backward_wgmma.cuh.
#include <algorithm>

#include "feed_forward/backward_wgmma.cuh"

namespace flr::cuda::feed_forward {
namespace {

template <int C>
using RowTile = tensor::Tile<bf16, C>;
/// On Hopper 128 channels have a way of their own.
template <int C>
int shared_of() {
  return C == wide_channels && on_hopper() ? wide_bytes : places * place_bytes<C>;
}

/// W₂ᵀ: sixteen hidden units as rows, from W₂ [C,hidden].
template <int C>
__device__ void load_across(Operand<C>& a, const bf16* w2, int first, int hidden) {
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
#pragma unroll
  for (int k = 0; k < C / 16; ++k)
#pragma unroll
    for (int x = 0; x < 4; ++x) {
      const int unit = first + g + x % 2 * 8, channel = 16 * k + x / 2 * 8 + 2 * t;
      const bf16* at = w2 + channel * hidden + unit;
      a[k][x] = unit < hidden ? pack_bf16(to_compute(at[0]), to_compute(at[hidden])) : 0;
    }
}

template <int C, Activation A>
__device__ void backward_narrow(const FeedForwardBackwardParams<bf16>& call, index_t before, const Share& share,
                                unsigned memory, const Parts& parts) {
  const FeedForwardParams<bf16>& p = call.f;
  const RowTile<C> lanes;
  const int warp = int(threadIdx.x) / 32, g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
  const int hidden = share.hidden, own = share.chunk * units + warp * 16;
  const int rows = share.rows, steps = (rows + step - 1) / step;
  const bf16 *x = p.x + (before + share.begin) * C, *dy = call.dy + (before + share.begin) * C;
  bf16* const gradients = parts.gradients + share.begin * hidden + own;

  const auto fetch = [&](int s) {
    if (s < steps) {
      const unsigned to = memory + unsigned(s % places * place_bytes<C>);
      RowTile<C>::template copy<step, backward_threads>(to, x + s * (step * C), C, rows - s * step, C);
      RowTile<C>::template copy<step, backward_threads>(to + step * C * 2, dy + s * (step * C), C, rows - s * step, C);
    }
    end_of_copies();  // one for each step, so that they can be counted
  };
#pragma unroll
  for (int s = 0; s + 1 < places; ++s) fetch(s);
  Operand<C> w1, w2;
  tensor::load_operand<C>(w1, p.w1, C, own, hidden, C);
  load_across<C>(w2, p.w2, own, hidden);
  float bias[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) bias[r] = own + g + 8 * r < hidden ? to_compute(p.b1[own + g + 8 * r]) : 0.f;
  Sums<C> dw1 = {}, dw2 = {};
  // db₂ is summed by the warps of the first units, eight channels in 64 each.
  float db1[4] = {}, db2[C / 64][4] = {};

  for (int s = 0; s < steps; ++s) {
    wait_for_copies_but<places - 2>();
    __syncthreads();  // and nobody reads the place before this one any more
    fetch(s + places - 1);
    const unsigned x_at = memory + unsigned(s % places * place_bytes<C>), dy_at = x_at + step * C * 2;
#pragma unroll 1
    for (int row = 0; row < step; row += 16) {
      float h[2][4], slope[2][4] = {};
#pragma unroll
      for (int e = 0; e < 8; ++e) h[e / 4][e % 4] = bias[e % 4 / 2];
#pragma unroll
      for (int k = 0; k < C / 16; ++k) {
        Slice columns;
        lanes.columns(columns, x_at, row, k);
        tensor::add_scores<bf16>(h[0], h[1], w1[k], columns);
        lanes.columns(columns, dy_at, row, k);
        tensor::add_scores<bf16>(slope[0], slope[1], w2[k], columns);
      }
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const auto of = activation<A, true>(h[e / 4][e % 4]);
        h[e / 4][e % 4] = of.value, slope[e / 4][e % 4] *= of.slope;
      }
      // Rows that do not exist have dy = 0: whatever their a, they add nothing.
      const tensor::Weights<bf16> a(h[0], h[1]), dp(slope[0], slope[1]);
      dp.add_to(db1);
#pragma unroll
      for (int j = 0; j < C / 16; ++j) {
        Slice terms;
        lanes.terms(terms, x_at, row, j);
        dp.template add_terms<C>(dw1, terms, j);
        lanes.terms(terms, dy_at, row, j);
        a.template add_terms<C>(dw2, terms, j);
        if (share.chunk == 0 && j % 4 == warp / 2) {
          if (warp % 2) add_rows(db2[j / 4], terms[2], terms[3]);
          else add_rows(db2[j / 4], terms[0], terms[1]);
        }
      }
      if (own < hidden) store_turned(gradients + index_t{s * step + row} * hidden, hidden, rows - s * step - row, dp.a);
    }
  }

  store_part<C>(parts.dw1, share.part, hidden, own, [&](int j, int e) { return dw1[j][e]; });
  store_part<C>(parts.dw2, share.part, hidden, own, [&](int j, int e) { return dw2[j][e]; });
  if (t == 0)
#pragma unroll
    for (int r = 0; r < 2; ++r)
      if (own + g + 8 * r < hidden) parts.db1[index_t{share.part} * hidden + own + g + 8 * r] = db1[2 * r];
  if (share.chunk == 0 && g == 0)
#pragma unroll
    for (int j = 0; j < C / 64; ++j)
      tensor::put_pair(parts.db2 + index_t{share.part} * C + 64 * j + 8 * warp + 2 * t, db2[j][0], db2[j][1], false);
}

template <int C, Activation A>
__global__ void __launch_bounds__(backward_threads, 1)
    backward_kernel(const __grid_constant__ FeedForwardBackwardParams<bf16> call, index_t before, index_t all_rows,
                    index_t stretch, const __grid_constant__ Parts parts) {
  extern __shared__ __align__(1024) uint4 stages[];
  const Share share(int(call.f.hidden), all_rows, stretch);
  if constexpr (has_wgmma && C == wide_channels) backward_wide<A>(call, before, share, shared_address(stages), parts);
  else backward_narrow<C, A>(call, before, share, shared_address(stages), parts);
}

/// The rows of a block: for as many blocks as there are multiprocessors, but a few steps at least.
index_t stretch_of(const FeedForwardParams<bf16>& p, index_t rows) {
  const index_t wanted = std::min(multiprocessors() / ceil_div(p.hidden, units), rows / (4 * step));
  return ceil_div(ceil_div(rows, std::max<index_t>(1, wanted)), step) * step;
}

}  // namespace

index_t backward_parts(const FeedForwardParams<bf16>& p, index_t rows) {
  return ceil_div(rows, stretch_of(p, rows));
}

int backward_bytes(const FeedForwardParams<bf16>& p) {
  return p.channels == 64 ? shared_of<64>() : shared_of<128>();
}

void backward(const FeedForwardBackwardParams<bf16>& p, index_t first, index_t rows, const Parts& parts) {
  with_kernel(p.f.channels, p.f.act, [&]<int C, Activation A>() {
    const int bytes = shared_of<C>();
    allow_shared(backward_kernel<C, A>, bytes, "feed_forward_backward");
    const unsigned blocks = unsigned(ceil_div(p.f.hidden, units) * backward_parts(p.f, rows));
    const index_t stretch = stretch_of(p.f, rows);
    backward_kernel<C, A><<<blocks, backward_threads, bytes, stream()>>>(p, first, rows, stretch, parts);
    check_launch("feed_forward_backward");
  });
}

}  // namespace flr::cuda::feed_forward
