// What both directions of the feed-forward layer share: the weights of 64 hidden units at a time in
// shared memory, while the next 64 are on their way from L2, where every block reads them all.
//
// W₁'s rows are hidden units and W₂'s rows channels of the result, as they lie in memory: tiles of
// attention's kernels, of which either side can be summed over (tensor_tile.cuh).
#pragma once

#include "common/activation.cuh"
#include "feed_forward/problem.hpp"
#include "sdpa/tensor_tile.cuh"

namespace flr::cuda::feed_forward {

namespace tensor = attention::tensor;

inline constexpr int chunk = 64;  ///< hidden units

template <int C>
using FirstTile = tensor::Tile<bf16, C>;
using SecondTile = tensor::Tile<bf16, chunk>;
/// Sixteen rows of the 16-bit operands of products, and of C float sums.
template <int C>
using Operand = tensor::Operand<bf16, C>;
template <int C>
using Sums = tensor::Sums<C>;
using Slice = std::uint32_t[4];

template <int C>
struct Stage {
  static constexpr int first_bytes = chunk * C * 2, bytes = 2 * first_bytes;
};
/// Two stages, and b₁ in float.
template <int C>
constexpr int shared_bytes(index_t hidden) {
  return 2 * Stage<C>::bytes + int(hidden) * 4;
}

/// Rows of a tile from memory, `stride` elements apart.
template <int Rows, int C, int Threads>
__device__ void copy_rows(unsigned to, const bf16* from, int stride) {
  constexpr int pieces = C / 8, turn = Threads / pieces;
  static_assert(turn % 8 == 0);  // so that a thread's pieces are exchanged alike
  const int first = int(threadIdx.x) / pieces, piece = int(threadIdx.x) % pieces;
  to += tensor::Tile<bf16, C>::offset(first, piece);
  from += first * stride + piece * 8;
#pragma unroll
  for (int r = 0; r < Rows; r += turn, from += turn * stride)
    if (r + turn <= Rows || first + r < Rows) copy_async<16>(to + unsigned(r * C * 2), from, true);
}
/// The block begins to copy the weights of hidden units first … first + chunk − 1.
template <int C, int Threads>
__device__ void copy_chunk(unsigned to, const FeedForwardParams<bf16>& p, int first) {
  copy_rows<chunk, C, Threads>(to, p.w1 + first * C, C);
  copy_rows<C, chunk, Threads>(to + Stage<C>::first_bytes, p.w2 + first, int(p.hidden));
}

/// b₁ behind the stages.
template <int C, int Threads>
__device__ void place_bias(unsigned memory, const FeedForwardParams<bf16>& p) {
  for (int i = int(threadIdx.x); i < int(p.hidden); i += Threads)
    save1(memory + 2 * Stage<C>::bytes + unsigned(i) * 4, __float_as_uint(to_compute(p.b1[i])));
}
/// Accumulators of sixteen hidden units start as their b₁, at `bias`.
__device__ inline void start(float (&h)[2][4], unsigned bias) {
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const uint2 b = load2(bias + (8 * unsigned(e) + threadIdx.x % 4 * 2) * 4);
    h[e][0] = h[e][2] = __uint_as_float(b.x);
    h[e][1] = h[e][3] = __uint_as_float(b.y);
  }
}

/// Calls f.template operator()<C, A>() for the widths and activations that have kernels.
template <class F>
bool with_kernel(index_t channels, Activation act, F f) {
  const auto with_act = [&]<int C>() {
    switch (act) {
      case Activation::gelu: f.template operator()<C, Activation::gelu>(); return true;
      case Activation::gelu_tanh: f.template operator()<C, Activation::gelu_tanh>(); return true;
      case Activation::relu: f.template operator()<C, Activation::relu>(); return true;
      default: return false;
    }
  };
  if (channels == 64) return with_act.template operator()<64>();
  if (channels == 128) return with_act.template operator()<128>();
  return false;
}

}  // namespace flr::cuda::feed_forward
