// y[n,j] = Σ_a F[n,a] S[a,j] on tensor cores: features of 16 tokens as A, the state as B.
//
// Bound by moving the tokens and, from D = 32 on, by the products. The state of a head lies in
// shared memory as fragments, whichever axis of it is read; a warp takes 32 tokens at a time, so
// that each fragment serves two products. A slow number of a row comes by a shuffle and scales the
// fast factor's registers. Gradients of tokens are reads along other axes of the same state.
#include "flare/fragments.cuh"
#include "common/resident_blocks.hpp"
#include "outer_product/outer_product.hpp"
#include "outer_product/pairs.cuh"

namespace flr::cuda::outer_product {
namespace {

using namespace flare;

constexpr int groups = 2;  ///< of 16 tokens, a warp at a time

template <int D, int Factors>
struct Fragments {
  static constexpr index_t features = power(D, Factors);
  static constexpr int tiles = features < 16 ? 1 : int(features / 16);
  static constexpr int together = regs<D> < 2 ? 1 : 2;  ///< tiles of columns in one load
  static constexpr int bytes = tiles * 16 * D * 2;
  /// Blocks of many warps where there is room for one block only.
  static constexpr int warps = bytes > 100 * 1024 ? 12 : 8;
};

/// B of one tile of 16 features and `together` tiles of 8 columns, for a lane.
template <int D>
using FragmentLoad = Pack<u32, (regs<D> < 2 ? 2 : 4)>;

/// Where the pair of a channel lies in Rows: register and lane of a quad.
template <int D>
__device__ int register_of(int c) {
  constexpr int block = 8 * wide<D>;
  return c / block * wide<D> + c % (2 * wide<D>) / 2;
}
template <int D>
__device__ int quad_lane_of(int c) {
  return c % (8 * wide<D>) / (2 * wide<D>);
}

/// The state in shared memory, element by element to its place in the fragments.
template <int D, int Factors>
__device__ void fill_fragments(bf16* to, const bf16* state, int axis) {
  using F = Fragments<D, Factors>;
  constexpr index_t size = F::features * D;
  if constexpr (F::features < 16)
    for (int i = threadIdx.x; i < F::bytes / 2; i += F::warps * 32) to[i].bits = 0;
  if constexpr (F::features < 16) __syncthreads();
  int low = 1;  // elements of the axes behind the one that is read
  for (int a = axis; a < Factors; ++a) low *= D;
  for (int i = threadIdx.x * 8; i < size; i += F::warps * 32 * 8) {
    const auto values = *reinterpret_cast<const Pack<bf16, 8>*>(state + i);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int at = i + e, column = at / low % D, feature = at / (low * D) * low + at % low;
      const int k = feature % D, octet = feature / D * regs<D> + register_of<D>(k);
      const int n = register_of<D>(column);
      const int g = 2 * quad_lane_of<D>(column) + column % 2, t = quad_lane_of<D>(k);
      const int load = (octet / 2 * (regs<D> / F::together) + n / F::together) * 32 + 4 * g + t;
      const int word = (load * F::together + n % F::together) * 2 + octet % 2;
      to[word * 2 + k % 2] = values.v[e];
    }
  }
}

template <int D, int Factors>
__global__ void __launch_bounds__(Fragments<D, Factors>::warps * 32) read_kernel(ReadOf<bf16> p) {
  using F = Fragments<D, Factors>;
  constexpr int R = regs<D>, tokens = 16 * groups;
  extern __shared__ uint4 shared[];
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int b = int(blockIdx.y) / p.H, h = int(blockIdx.y) % p.H;
  fill_fragments<D, Factors>(reinterpret_cast<bf16*>(shared),
                             p.state + index_t{blockIdx.y} * (F::features * D), p.axis);
  __syncthreads();
  const auto* const fragments = reinterpret_cast<const FragmentLoad<D>*>(shared) + lane;
  const Heads<const bf16>& last = p.factor[Factors - 1];
  const Heads<const bf16>& middle = p.factor[Factors > 1 ? Factors - 2 : 0];

  const index_t stride = index_t{gridDim.x} * F::warps * tokens;
  for (index_t first = (index_t{blockIdx.x} * F::warps + threadIdx.x / 32) * tokens; first < p.N;
       first += stride) {
    Rows<D> fast[groups], inner[groups], outer[groups];
    Sums<D> y[groups] = {};
#pragma unroll
    for (int i = 0; i < groups; ++i) {
      const index_t n = first + 16 * i;
      fast[i] = load_rows<D>(last.head(b, h), last.s.row, n, p.N);
      if constexpr (Factors > 1) inner[i] = load_rows<D>(middle.head(b, h), middle.s.row, n, p.N);
      if constexpr (Factors > 2)
        outer[i] = load_rows<D>(p.factor[0].head(b, h), p.factor[0].s.row, n, p.N);
    }
    // y += the product of a tile of features, A of each group, and the state.
    const auto multiply = [&](int tile, const u32(&a)[groups][4]) {
#pragma unroll
      for (int j = 0; j < R; j += F::together) {
        const FragmentLoad<D> s = fragments[(tile * R + j) / F::together * 32];
#pragma unroll
        for (int e = 0; e < F::together; ++e)
#pragma unroll
          for (int i = 0; i < groups; ++i) mma_k16(y[i][j + e], a[i], s.v[2 * e], s.v[2 * e + 1]);
      }
    };
    // All features of one slow channel, or of two where those of one fill half a tile.
    const auto with_inner = [&](int before, const u32(&of_outer)[groups][2]) {
#pragma unroll
      for (int r = 0; r < R; ++r)
        for (int from = 0; from < 4; ++from) {
          u32 slow[2][groups][2];  // of two neighbouring channels: rows g, rows g + 8, each twice
#pragma unroll
          for (int i = 0; i < groups; ++i) {
            const u32 lo = __shfl_sync(0xffffffffu, inner[i].lo[r], 4 * g + from);
            const u32 hi = __shfl_sync(0xffffffffu, inner[i].hi[r], 4 * g + from);
            slow[0][i][0] = both<0>(lo), slow[1][i][0] = both<1>(lo);
            slow[0][i][1] = both<0>(hi), slow[1][i][1] = both<1>(hi);
            if constexpr (Factors > 2)
#pragma unroll
              for (int e = 0; e < 4; ++e)
                slow[e / 2][i][e % 2] = multiply_pairs(of_outer[i][e % 2], slow[e / 2][i][e % 2]);
          }
          const int first_octet = (before + channel<D>(r, from)) * R;
          u32 a[groups][4];
#pragma unroll
          for (int octet = 0; octet < 2 * R; ++octet) {
            const int j = octet % R;
#pragma unroll
            for (int i = 0; i < groups; ++i) {
              a[i][octet % 2 * 2] = multiply_pairs(slow[octet / R][i][0], fast[i].lo[j]);
              a[i][octet % 2 * 2 + 1] = multiply_pairs(slow[octet / R][i][1], fast[i].hi[j]);
            }
            if (octet % 2 == 1) multiply((first_octet + octet) / 2, a);
          }
        }
    };

    if constexpr (Factors == 1) {
#pragma unroll
      for (int j = 0; j < R; j += 2) {
        u32 a[groups][4] = {};
#pragma unroll
        for (int i = 0; i < groups; ++i) {
          a[i][0] = fast[i].lo[j], a[i][1] = fast[i].hi[j];
          if constexpr (R > 1) a[i][2] = fast[i].lo[j + 1], a[i][3] = fast[i].hi[j + 1];
        }
        multiply(j / 2, a);
      }
    } else if constexpr (Factors == 2) {
      with_inner(0, {});
    } else {
#pragma unroll
      for (int r = 0; r < R; ++r)
        for (int from = 0; from < 4; ++from) {
          u32 pairs[groups][2], of_outer[groups][2];
#pragma unroll
          for (int i = 0; i < groups; ++i) {
            pairs[i][0] = __shfl_sync(0xffffffffu, outer[i].lo[r], 4 * g + from);
            pairs[i][1] = __shfl_sync(0xffffffffu, outer[i].hi[r], 4 * g + from);
            of_outer[i][0] = both<0>(pairs[i][0]), of_outer[i][1] = both<0>(pairs[i][1]);
          }
          with_inner(channel<D>(r, from) * D, of_outer);
#pragma unroll
          for (int i = 0; i < groups; ++i)
            of_outer[i][0] = both<1>(pairs[i][0]), of_outer[i][1] = both<1>(pairs[i][1]);
          with_inner((channel<D>(r, from) + 1) * D, of_outer);
        }
    }

#pragma unroll
    for (int i = 0; i < groups; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const index_t n = first + 16 * i + 8 * half + g;
        if (n >= p.N) continue;
        float c[2 * R];
        row_of<D>(c, y[i], half, p.scale);
        store_row<D>(p.y.head(b, h) + n * p.y.s.row, c, t, p.accumulate);
      }
  }
}

}  // namespace

void read(const OuterReadParams<bf16>& p) {
  with_shape(p.D, p.operands - 1, [&]<int D, int Factors>() {
    using F = Fragments<D, Factors>;
    allow_shared(read_kernel<D, Factors>, F::bytes, "outer_read");
    const index_t heads = p.B * p.H, most = ceil_div(p.N, index_t{F::warps} * 16 * groups);
    const unsigned blocks = resident_blocks(read_kernel<D, Factors>, F::warps * 32, F::bytes, heads,
                                            most > 0 ? most : 1);
    for (int axis = 0; axis < p.operands; ++axis) {
      if (p.mode[axis] == GradMode::ignore) continue;
      read_kernel<D, Factors><<<dim3(blocks, unsigned(heads)), F::warps * 32, F::bytes, stream()>>>(
          read_along(p, axis));
      check_launch("outer_read");
    }
  });
}

}  // namespace flr::cuda::outer_product
