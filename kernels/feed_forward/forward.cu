// The feed-forward layer's forward pass: a warp takes its rows through all hidden units, sixteen at a
// time, which pass from the first product to the second in registers.
//
// Bound by tensor cores and the activation: 64000 rows, C = 128, hidden 512 are 16.8 GFLOP of
// m16n8k16 and 33M activations, where separate products would move 18 times what x and y are. On an H100
// these kernels take 83 µs for them, in which the tensor cores work a third of the time; sixteen warps of 16
// rows, which read the weights twice as often, take 95. By default it takes those of forward_wgmma.cuh.
#include <algorithm>

#include "feed_forward/forward_wgmma.cuh"

namespace flr::cuda::feed_forward {
namespace {

constexpr int forward_warps = 8, forward_threads = 32 * forward_warps;

// The weights of `chunk` hidden units at a time lie in shared memory, while the next ones are on their
// way from L2, where every block reads them all. W₁'s rows are hidden units and W₂'s rows channels of the
// result, as they lie in memory.
constexpr int chunk = 64;

template <int C>
using FirstTile = tensor::Tile<bf16, C>;
using SecondTile = tensor::Tile<bf16, chunk>;
template <int C>
struct Stage {
  static constexpr int first_bytes = chunk * C * 2, bytes = 2 * first_bytes;
};
/// Two stages, and b₁ in float.
template <int C>
constexpr int shared_bytes(index_t hidden) {
  return 2 * Stage<C>::bytes + int(hidden) * 4;
}

/// Rows of a tile from memory, `stride` elements apart, all of which exist.
template <int Rows, int C>
__device__ void copy_rows(unsigned to, const bf16* from, int stride) {
  constexpr int pieces = C / 8, turn = forward_threads / pieces;
  static_assert(turn % 8 == 0);  // so that a thread's pieces are exchanged alike
  const int first = int(threadIdx.x) / pieces, piece = int(threadIdx.x) % pieces;
  to += tensor::Tile<bf16, C>::offset(first, piece);
  from += first * stride + piece * 8;
#pragma unroll
  for (int r = 0; r < Rows; r += turn, from += turn * stride)
    if (r + turn <= Rows || first + r < Rows) copy_async<16>(to + unsigned(r * C * 2), from, true);
}
/// The block begins to copy the weights of hidden units first … first + chunk − 1.
template <int C>
__device__ void copy_chunk(unsigned to, const FeedForwardParams<bf16>& p, int first) {
  copy_rows<chunk, C>(to, p.w1 + first * C, C);
  copy_rows<C, chunk>(to + Stage<C>::first_bytes, p.w2 + first, int(p.hidden));
}

/// b₁ behind the stages.
template <int C>
__device__ void place_bias(unsigned memory, const FeedForwardParams<bf16>& p) {
  for (int i = int(threadIdx.x); i < int(p.hidden); i += forward_threads)
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

/// M times sixteen rows a warp.
template <int C, int M, Activation A>
__device__ void forward_narrow(const FeedForwardParams<bf16>& p, unsigned memory, index_t block) {
  const unsigned bias = memory + 2 * Stage<C>::bytes;
  const FirstTile<C> first_tile;
  const SecondTile second_tile;
  const int warp = int(threadIdx.x) / 32, t = int(threadIdx.x) % 4, hidden = int(p.hidden);
  const index_t row = (block * forward_warps + warp) * (16 * M);

  copy_chunk<C>(memory, p, 0);
  place_bias<C>(memory, p);
  Operand<C> x[M];
  Sums<C> y[M];
#pragma unroll
  for (int m = 0; m < M; ++m) {
    tensor::load_operand<C>(x[m], p.x, C, row + 16 * m, p.rows, C);
#pragma unroll
    for (int j = 0; j < C / 8; ++j) {
      y[m][j][0] = y[m][j][2] = to_compute(p.b2[8 * j + 2 * t]);
      y[m][j][1] = y[m][j][3] = to_compute(p.b2[8 * j + 2 * t + 1]);
    }
  }

  unsigned stage = 0;
  for (int first = 0; first < hidden; first += chunk, stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // and nobody reads the other stage any more
    if (first + chunk < hidden)
      copy_chunk<C>(memory + (stage ^ 1) * Stage<C>::bytes, p, first + chunk);
    const unsigned w1 = memory + stage * Stage<C>::bytes, w2 = w1 + Stage<C>::first_bytes;
#pragma unroll 1
    for (int s = 0; s < chunk / 16; ++s) {
      float h[M][2][4];
#pragma unroll
      for (int m = 0; m < M; ++m) start(h[m], bias + unsigned(first + 16 * s) * 4);
#pragma unroll
      for (int k = 0; k < C / 16; ++k) {
        Slice w;
        first_tile.columns(w, w1, 16 * s, k);
#pragma unroll
        for (int m = 0; m < M; ++m) tensor::add_scores<bf16>(h[m][0], h[m][1], x[m][k], w);
      }
      tensor::Weights<bf16> a[M];
#pragma unroll
      for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          float& v = h[m][e / 4][e % 4];
          v = activation<A, true>(v).value;
        }
        a[m] = tensor::Weights<bf16>(h[m][0], h[m][1]);
      }
#pragma unroll
      for (int j = 0; j < C / 16; ++j) {
        Slice w;
        second_tile.columns(w, w2, 16 * j, s);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          mma_k16(y[m][2 * j], a[m].a, w[0], w[1]);
          mma_k16(y[m][2 * j + 1], a[m].a, w[2], w[3]);
        }
      }
    }
  }
  constexpr float factor[2] = {1, 1};
#pragma unroll
  for (int m = 0; m < M; ++m)
    tensor::store_sums<C>(y[m], factor, p.y, C, row + 16 * m, p.rows, C, false);
}

/// On Hopper 128 channels have a way of their own, of 16 rows a warp, for which blocks stay.
template <int C, int M>
inline constexpr bool may_be_wide = C == wide_channels && M == 1 && forward_threads == wide_threads;

template <int C, int M, Activation A>
__global__ void __launch_bounds__(forward_threads, C > 64 ? 1 : 2)
    forward_kernel(const __grid_constant__ FeedForwardParams<bf16> p) {
  extern __shared__ __align__(1024) uint4 stages[];
  if constexpr (has_wgmma && may_be_wide<C, M>) forward_wide<A>(p, shared_address(stages));
  else
    for (index_t block = blockIdx.x; block * (forward_warps * 16 * M) < p.rows; block += gridDim.x) {
      forward_narrow<C, M, A>(p, shared_address(stages), block);
      __syncthreads();
    }
}

/// Of a launch on this GPU.
template <int C, int M>
int bytes_of(index_t hidden) {
  return may_be_wide<C, M> && on_hopper() ? wide_forward_bytes(hidden) : shared_bytes<C>(hidden);
}

template <int C, int M, Activation A>
void launch(const FeedForwardParams<bf16>& p) {
  const int bytes = bytes_of<C, M>(p.hidden);
  allow_shared(forward_kernel<C, M, A>, bytes, "feed_forward");
  index_t blocks = ceil_div(p.rows, forward_warps * 16 * M);
  if (may_be_wide<C, M> && on_hopper()) blocks = std::min<index_t>(blocks, multiprocessors());
  forward_kernel<C, M, A><<<unsigned(blocks), forward_threads, bytes, stream()>>>(p);
  check_launch("feed_forward");
}

}  // namespace

int forward_bytes(const FeedForwardParams<bf16>& p) {
  return p.channels == 64 ? bytes_of<64, 1>(p.hidden) : bytes_of<128, 1>(p.hidden);
}

void forward(const FeedForwardParams<bf16>& p) {
  with_kernel(p.channels, p.act, [&]<int C, Activation A>() {
    // What is read of the weights serves twice as many rows, where there are enough of them.
    const bool wide = may_be_wide<C, 1> && on_hopper();
    if (!wide && p.rows >= index_t{multiprocessors()} * forward_warps * 32) launch<C, 2, A>(p);
    else launch<C, 1, A>(p);
  });
}

}  // namespace flr::cuda::feed_forward
