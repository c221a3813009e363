// The feed-forward layer's backward pass over rows: h = W₁x + b₁ again, then
//
//   a = act(h), dp = (W₂ᵀ dy) ∘ act′(h).
// Both are left in memory for the gradients of weights and biases, which sum over rows, and of x. A
// warp takes sixteen rows through all hidden units, sixteen at a time.
//
// Bound by writing a and dp, and by shared memory: 512 bytes of weights for two products. With dx in the
// same kernel, 64 more registers, 12 warps found a multiprocessor at a third of what it can issue.
#include "feed_forward/chunks.cuh"

namespace flr::cuda::feed_forward {
namespace {

constexpr int backward_warps = 16, backward_threads = 32 * backward_warps, block_rows = 16 * backward_warps;

/// Where a warp's sixteen rows of what is left lie.
struct Place {
  index_t at;      ///< of row g, for this lane's four of sixteen hidden units
  index_t apart;   ///< to row g + 8
  bool there[2];

  __device__ Place(index_t row, index_t rows, int hidden) {
    const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
    at = (row + g) * hidden + t % 2 * 8 + t / 2 * 4, apart = 8 * hidden;
    there[0] = row + g < rows, there[1] = row + g + 8 < rows;
  }
  /// Neighbouring lanes exchange halves, so that each writes four units and a row's lie in one sector.
  __device__ void store(bf16* to, const std::uint32_t (&a)[4]) const {
    const bool odd = threadIdx.x % 2 != 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const std::uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? a[r] : a[2 + r], 1);
      const uint2 four = odd ? uint2{other, a[2 + r]} : uint2{a[r], other};
      if (there[r]) *reinterpret_cast<uint2*>(to + at + (r ? apart : 0)) = four;
    }
  }
};

template <int C, Activation A>
__global__ void __launch_bounds__(backward_threads, 1)
    backward_kernel(const __grid_constant__ FeedForwardBackwardParams<bf16> call, index_t before, index_t rows,
                    const __grid_constant__ Left left) {
  extern __shared__ uint4 stages[];
  const FeedForwardParams<bf16>& p = call.f;
  const unsigned memory = shared_address(stages), bias = memory + 2 * Stage<C>::bytes;
  const FirstTile<C> first_tile;
  const SecondTile second_tile;
  const int warp = int(threadIdx.x) / 32, hidden = int(p.hidden);
  const index_t row = (index_t{blockIdx.x} * backward_warps + warp) * 16;
  const Place place(row, rows, hidden);

  copy_chunk<C, backward_threads>(memory, p, 0);
  place_bias<C, backward_threads>(memory, p);
  Operand<C> x, dy;
  tensor::load_operand<C>(x, p.x + before * C, C, row, rows, C);
  tensor::load_operand<C>(dy, call.dy + before * C, C, row, rows, C);

  unsigned stage = 0;
  for (int first = 0; first < hidden; first += chunk, stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // and nobody reads the other stage any more
    if (first + chunk < hidden)
      copy_chunk<C, backward_threads>(memory + (stage ^ 1) * Stage<C>::bytes, p, first + chunk);
    const unsigned w1 = memory + stage * Stage<C>::bytes, w2 = w1 + Stage<C>::first_bytes;
#pragma unroll 1
    for (int s = 0; s < chunk / 16; ++s) {
      float h[2][4], slope[2][4] = {};
      start(h, bias + unsigned(first + 16 * s) * 4);
#pragma unroll
      for (int k = 0; k < C / 16; ++k) {
        Slice w, u;
        first_tile.columns(w, w1, 16 * s, k);
        second_tile.terms(u, w2, 16 * k, s);
        tensor::add_scores<bf16>(h[0], h[1], x[k], w);
        tensor::add_scores<bf16>(slope[0], slope[1], dy[k], u);
      }
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const auto of = activation<A, true>(h[e / 4][e % 4]);
        h[e / 4][e % 4] = of.value, slope[e / 4][e % 4] *= of.slope;
      }
      const tensor::Weights<bf16> a(h[0], h[1]), dp(slope[0], slope[1]);
      place.store(left.activations + first + 16 * s, a.a);
      place.store(left.gradients + first + 16 * s, dp.a);
    }
  }
}

}  // namespace

void backward(const FeedForwardBackwardParams<bf16>& p, index_t first, index_t rows, const Left& left) {
  with_kernel(p.f.channels, p.f.act, [&]<int C, Activation A>() {
    const int bytes = shared_bytes<C>(p.f.hidden);
    allow_shared(backward_kernel<C, A>, bytes, "feed_forward_backward");
    const unsigned blocks = unsigned(ceil_div(rows, block_rows));
    backward_kernel<C, A><<<blocks, backward_threads, bytes, stream()>>>(p, first, rows, left);
    check_launch("feed_forward_backward");
  });
}

}  // namespace flr::cuda::feed_forward
