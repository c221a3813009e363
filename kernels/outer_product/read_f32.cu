// y[n,j] = Σ_a F[n,a] S[a,j] in float: tokens and a part of the state lie in shared memory, and a
// thread adds 4 tokens × 4 columns.
//
// Bound by multiply-adds. The sum over the fast factor is taken for each slow channel and then
// weighed with the token's slow number, so that no feature is ever made.
#include "common/device.cuh"
#include "outer_product/outer_product.hpp"

namespace flr::cuda::outer_product {
namespace {

constexpr int threads = 128;
using Four = Pack<float, 4>;

template <int D, int Factors>
struct Plan {
  static constexpr int tokens = threads * 16 / D;
  static constexpr int slow = int(power(D, Factors - 1));
  static constexpr int most = D == 8 ? 32 : 4096 / (D * D);
  static constexpr int together = slow < most ? slow : most;  ///< slow channels in shared memory
  static constexpr int pitch = D + 4;  ///< of a row of the state: neighbouring rows in other banks
  /// Lanes of a warp along the columns and the tokens, so that both loads are of few words.
  static constexpr int columns = D < 16 ? 2 : 4, rows = 32 / columns;
};

/// x of a tile of tokens, channel by channel; zeros beyond the last token.
template <int D>
__device__ void load_tokens(float* to, const Heads<const float>& x, int b, int h, index_t first,
                            index_t end) {
  constexpr int tokens = threads * 16 / D;
  for (int i = threadIdx.x; i < tokens * D / 4; i += threads) {
    const int n = i % tokens, c = i / tokens * 4;
    const Four row = first + n < end
                         ? *reinterpret_cast<const Four*>(x.head(b, h) + (first + n) * x.s.row + c)
                         : Four{};
#pragma unroll
    for (int e = 0; e < 4; ++e) to[(c + e) * tokens + n] = row.v[e];
  }
}

template <int D, int Factors>
__global__ void __launch_bounds__(threads) read_kernel(ReadOf<float> p) {
  using P = Plan<D, Factors>;
  __shared__ Four state[P::together * D * P::pitch / 4];
  __shared__ Four factors[Factors][D * P::tokens / 4];
  const int b = int(blockIdx.y) / p.H, h = int(blockIdx.y) % p.H;
  constexpr int column_warps = D / 4 / P::columns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int token = warp / column_warps * P::rows + lane % P::rows;
  const int column = warp % column_warps * P::columns + lane / P::rows;
  const index_t first = index_t{blockIdx.x} * P::tokens;
  const float* const from = p.state + index_t{blockIdx.y} * (power(D, Factors + 1));
  int low = 1;  // elements of the axes behind the one that is read
  for (int a = p.axis; a < Factors; ++a) low *= D;
#pragma unroll
  for (int a = 0; a < Factors; ++a)
    load_tokens<D>(reinterpret_cast<float*>(factors[a]), p.factor[a], b, h, first, p.N);

  float y[4][4] = {};
  for (int s0 = 0; s0 < P::slow; s0 += P::together) {
    __syncthreads();
    for (int i = threadIdx.x; i < P::together * D * D; i += threads) {
      // Neighbouring threads take neighbours in memory: columns, or channels of the fast factor.
      const int s = i / (D * D), x = i / D % D, z = i % D;
      const int k = low == 1 ? x : z, j = low == 1 ? z : x, feature = (s0 + s) * D + k;
      reinterpret_cast<float*>(state)[(s * D + k) * P::pitch + j] =
          from[feature / low * (low * D) + j * low + feature % low];
    }
    __syncthreads();
    for (int s = 0; s < P::together; ++s) {
      float sum[4][4] = {};
#pragma unroll 8
      for (int k = 0; k < D; ++k) {
        const Four f = factors[Factors - 1][k * (P::tokens / 4) + token];
        const Four w = state[(s * D + k) * (P::pitch / 4) + column];
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(f.v[i], w.v[j], sum[i][j]);
      }
      Four slow{{1, 1, 1, 1}};
      if constexpr (Factors > 1)
        slow = factors[Factors - 2][(s0 + s) % D * (P::tokens / 4) + token];
      if constexpr (Factors > 2) {
        const Four outer = factors[0][(s0 + s) / D * (P::tokens / 4) + token];
#pragma unroll
        for (int i = 0; i < 4; ++i) slow.v[i] *= outer.v[i];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) y[i][j] = fmaf(slow.v[i], sum[i][j], y[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const index_t n = first + token * 4 + i;
    if (n >= p.N) continue;
    Four* const at = reinterpret_cast<Four*>(p.y.head(b, h) + n * p.y.s.row + column * 4);
    Four result = p.accumulate ? *at : Four{};
#pragma unroll
    for (int j = 0; j < 4; ++j) result.v[j] = fmaf(y[i][j], p.scale, result.v[j]);
    *at = result;
  }
}

}  // namespace

void read(const OuterReadParams<float>& p) {
  with_shape(p.D, p.operands - 1, [&]<int D, int Factors>() {
    const dim3 grid(unsigned(ceil_div(p.N, Plan<D, Factors>::tokens)), unsigned(p.B * p.H));
    for (int axis = 0; axis < p.operands; ++axis) {
      if (p.mode[axis] == GradMode::ignore) continue;
      read_kernel<D, Factors><<<grid, threads, 0, stream()>>>(read_along(p, axis));
      check_launch("outer_read");
    }
  });
}

}  // namespace flr::cuda::outer_product
