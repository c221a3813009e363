// The feed-forward layer's backward pass over rows: h = W₁x + b₁ again, then
//
//   a = act(h), dp = (W₂ᵀ dy) ∘ act′(h).
// Both are left in memory for the gradients of the weights, which sum over rows, and of x; the sums of
// dp, b₁'s gradient, are left by block. A warp takes sixteen rows through all hidden units, sixteen at
// a time.
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

/// The sums over sixteen rows: of unit 8 · (lane / 16) + 2 t + lane / 8 % 2, in this lane.
__device__ inline float sum_rows(const float (&v)[2][4]) {
  const int lane = int(threadIdx.x) % 32;
  const bool second = lane / 16 != 0, odd = lane / 8 % 2 != 0;
  float two[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const float low = v[0][e] + v[0][e + 2], high = v[1][e] + v[1][e + 2];
    two[e] = (second ? high : low) + __shfl_xor_sync(0xffffffffu, second ? low : high, 16);
  }
  float one = (odd ? two[1] : two[0]) + __shfl_xor_sync(0xffffffffu, odd ? two[0] : two[1], 8);
  one += __shfl_xor_sync(0xffffffffu, one, 4);
  return one;
}

template <int C, Activation A>
__global__ void __launch_bounds__(backward_threads, 1)
    backward_kernel(const __grid_constant__ FeedForwardBackwardParams<bf16> call, index_t before, index_t rows,
                    const __grid_constant__ Left left) {
  extern __shared__ uint4 stages[];
  const FeedForwardParams<bf16>& p = call.f;
  const unsigned memory = shared_address(stages), bias = memory + 2 * Stage<C>::bytes;
  const unsigned sums = bias + unsigned(p.hidden) * 4;  // [2][warps][chunk], of dp
  const FirstTile<C> first_tile;
  const SecondTile second_tile;
  const int thread = int(threadIdx.x), warp = thread / 32, lane = thread % 32, hidden = int(p.hidden);
  const index_t row = (index_t{blockIdx.x} * backward_warps + warp) * 16;
  const Place place(row, rows, hidden);
  const int unit = lane / 16 * 8 + lane % 4 * 2 + lane / 8 % 2;  // of sum_rows

  copy_chunk<C, backward_threads>(memory, p, 0);
  place_bias<C, backward_threads>(memory, p);
  Operand<C> x, dy;
  tensor::load_operand<C>(x, p.x + before * C, C, row, rows, C);
  tensor::load_operand<C>(dy, call.dy + before * C, C, row, rows, C);

  // The sums of a chunk are added up while the next one is worked on.
  const auto finish_sums = [&](int first, unsigned stage) {
    if (thread >= chunk) return;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < backward_warps; ++w)
      sum += load_float(sums + ((stage * backward_warps + unsigned(w)) * chunk + unsigned(thread)) * 4);
    left.bias_sums[index_t{blockIdx.x} * hidden + first + thread] = sum;
  };

  unsigned stage = 0;
  for (int first = 0; first < hidden; first += chunk, stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // and nobody reads the other stage any more
    if (first + chunk < hidden)
      copy_chunk<C, backward_threads>(memory + (stage ^ 1) * Stage<C>::bytes, p, first + chunk);
    if (first > 0) finish_sums(first - chunk, stage ^ 1);
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
      const float sum = sum_rows(slope);
      if (lane / 4 % 2 == 0)
        save1(sums + ((stage * backward_warps + unsigned(warp)) * chunk + unsigned(16 * s + unit)) * 4,
              __float_as_uint(sum));
    }
  }
  __syncthreads();
  finish_sums(hidden - chunk, stage ^ 1);
}

}  // namespace

index_t backward_blocks(const FeedForwardParams<bf16>&, index_t rows) {
  return ceil_div(rows, block_rows);
}

void backward(const FeedForwardBackwardParams<bf16>& p, index_t first, index_t rows, const Left& left) {
  with_kernel(p.f.channels, p.f.act, [&]<int C, Activation A>() {
    const int bytes = shared_bytes<C>(p.f.hidden) + 2 * backward_warps * chunk * 4;
    allow_shared(backward_kernel<C, A>, bytes, "feed_forward_backward");
    const unsigned blocks = unsigned(backward_blocks(p.f, rows));
    backward_kernel<C, A><<<blocks, backward_threads, bytes, stream()>>>(p, first, rows, left);
    check_launch("feed_forward_backward");
  });
}

}  // namespace flr::cuda::feed_forward
