// S[a,j] = Σ_n F[n,a] v[n,j] in float: the features of some tokens are made in shared memory, and a
// thread adds 4×4 elements of the state.
//
// Bound by multiply-adds: 16 for two loads of 16 bytes. Where a slice of the state is smaller than
// a block's 4096 elements, groups of threads take tokens in turn and each leaves a part of its own.
#include "common/device.cuh"
#include "common/resident_blocks.hpp"
#include "outer_product/outer_product.hpp"

namespace flr::cuda::outer_product {
namespace {

constexpr int threads = 256;
using Four = Pack<float, 4>;

template <int D, int Factors>
struct Plan {
  static constexpr int features = int(power(D, Factors));
  static constexpr int rows = features * D < 4096 ? features : 4096 / D;  ///< of a block
  static constexpr int slices = features / rows;
  static constexpr int group = rows * D / 16;  ///< threads that share a token
  static constexpr int groups = threads / group;
  static constexpr int tokens = rows < 64 ? 64 : 4096 / rows;  ///< at a time
};

template <int D, int Factors>
__global__ void __launch_bounds__(threads) state_kernel(OuterOperands<float> p, float* parts) {
  using P = Plan<D, Factors>;
  __shared__ Four features[P::tokens * P::rows / 4], values[P::tokens * D / 4];
  const int thread = threadIdx.x % P::group, group = threadIdx.x / P::group;
  const int row = thread / (D / 4), column = thread % (D / 4);
  const int b = int(blockIdx.z / p.H), h = int(blockIdx.z % p.H), first = blockIdx.y * P::rows;
  const auto data = [&](int a) { return p.x[a] + b * p.xs[a].batch + h * p.xs[a].head; };
  const float *fast = data(Factors - 1), *right = data(Factors);
  const float *middle = data(Factors > 1 ? Factors - 2 : 0), *outer = data(0);
  const index_t fast_row = p.xs[Factors - 1].row, right_row = p.xs[Factors].row;
  const index_t middle_row = p.xs[Factors > 1 ? Factors - 2 : 0].row, outer_row = p.xs[0].row;

  float sum[4][4] = {};
  for (index_t n0 = index_t{blockIdx.x} * P::tokens; n0 < p.N;
       n0 += index_t{gridDim.x} * P::tokens) {
    for (int i = threadIdx.x; i < P::tokens * P::rows / 4; i += threads) {
      const index_t n = n0 + i / (P::rows / 4);
      const int feature = first + i % (P::rows / 4) * 4;
      Four f = {};
      if (n < p.N) {
        f = *reinterpret_cast<const Four*>(fast + n * fast_row + feature % D);
        if constexpr (Factors > 1) {
          float slow = middle[n * middle_row + feature / D % D];
          if constexpr (Factors > 2) slow *= outer[n * outer_row + feature / (D * D)];
#pragma unroll
          for (int e = 0; e < 4; ++e) f.v[e] *= slow;
        }
      }
      features[i] = f;
    }
    for (int i = threadIdx.x; i < P::tokens * D / 4; i += threads) {
      const index_t n = n0 + i / (D / 4);
      values[i] = n < p.N ? *reinterpret_cast<const Four*>(right + n * right_row + i % (D / 4) * 4)
                          : Four{};
    }
    __syncthreads();
#pragma unroll 4
    for (int n = group; n < P::tokens; n += P::groups) {
      const Four f = features[n * (P::rows / 4) + row], v = values[n * (D / 4) + column];
#pragma unroll
      for (int a = 0; a < 4; ++a)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[a][j] = fmaf(f.v[a], v.v[j], sum[a][j]);
    }
    __syncthreads();
  }

  const index_t split = index_t{blockIdx.x} * P::groups + group;
  const index_t splits = index_t{gridDim.x} * P::groups;
  float* part = parts + (blockIdx.z * splits + split) * (index_t{P::features} * D);
#pragma unroll
  for (int a = 0; a < 4; ++a)
    *reinterpret_cast<Four*>(part + index_t{first + row * 4 + a} * D + column * 4) =
        Four{{sum[a][0], sum[a][1], sum[a][2], sum[a][3]}};
}

}  // namespace

void state(const OuterStateParams<float>& p) {
  with_shape(p.D, p.operands - 1, [&]<int D, int Factors>() {
    using P = Plan<D, Factors>;
    const index_t heads = p.B * p.H, most = ceil_div(p.N, index_t{P::tokens} * 4);
    const unsigned blocks = resident_blocks(state_kernel<D, Factors>, threads, 0,
                                                   heads * P::slices, most > 0 ? most : 1);
    const index_t splits = index_t{blocks} * P::groups;
    const Scratch<float> parts(heads * splits * power(D, Factors + 1));
    const dim3 grid(blocks, unsigned(P::slices), unsigned(heads));
    state_kernel<D, Factors><<<grid, threads, 0, stream()>>>(p, parts);
    check_launch("outer_state");
    merge_parts(p, parts, splits);
  });
}

}  // namespace flr::cuda::outer_product
