// S[a,j] = Σ_n F[n,a] v[n,j] on tensor cores: features of 16 tokens as A, their values as B.
//
// Bound by moving the tokens and, from D = 32 on, by the products. A warp keeps a slice of the
// state in registers (up to 128 floats a lane) and walks over every `splits`-th tile of 16 tokens;
// features exist in registers only. Transposed, a register of the fast factor is a pair of tokens
// of one channel, and so is one of a slow factor: the features of a slow channel are the fast
// factor's registers times the one register of that channel, which a shuffle brings. What a warp
// ends with is a part; parts are added in order.
#include "flare/fragments.cuh"
#include "common/resident_blocks.hpp"
#include "outer_product/outer_product.hpp"
#include "outer_product/pairs.cuh"

namespace flr::cuda::outer_product {
namespace {

using namespace flare;

constexpr int warps = 4;

/// The slow channels of a warp: `outer` of the first of two slow factors, `inner` of the other one.
template <int D, int Factors>
struct Slice {
  static constexpr int inner = Factors == 1 ? 1 : D == 32 ? 4 : D;
  static constexpr int outer = Factors == 3 && D == 8 ? 8 : 1;
  static constexpr int inner_regs = (inner + 7) / 8;
  static constexpr int octets = inner * outer * regs<D>;  ///< groups of 8 features
  static constexpr int tiles = (octets + 1) / 2;
  static constexpr int count = int(power(D, Factors - 1)) / (inner * outer);
  static constexpr int resident = tiles * regs<D> > 16 ? 2 : 4;  ///< blocks, by registers
};

/// Tokens first … first + 15.
template <int D, int Factors>
struct Tokens {
  Rows<D> fast, right;
  u32 inner_lo[Slice<D, Factors>::inner_regs], inner_hi[Slice<D, Factors>::inner_regs];
  u32 outer_lo, outer_hi;
};

/// A lane's pair of channels in register j of a row.
template <int D>
__device__ u32 load_pair(const bf16* x, index_t stride, index_t row, index_t end, int j) {
  if (row >= end) return 0;
  return *reinterpret_cast<const u32*>(x + row * stride + channel<D>(j, threadIdx.x % 4));
}

template <int D, int Factors>
__global__ void __launch_bounds__(warps * 32, Slice<D, Factors>::resident)
    state_kernel(OuterOperands<bf16> p, int splits, float* parts) {
  using S = Slice<D, Factors>;
  constexpr int R = regs<D>;
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const index_t units = p.B * p.H * S::count;
  const index_t job = index_t{blockIdx.x} * warps + threadIdx.x / 32;
  if (job >= units * splits) return;
  const index_t unit = job % units, split = job / units, head = unit / S::count;
  const int b = int(head / p.H), h = int(head % p.H), slice = int(unit % S::count);
  // Where the slice begins: a register and, in its transpose, a column.
  const int inner_reg = D == 32 ? slice / 2 : 0, inner_column = D == 32 ? slice % 2 * 4 : 0;
  const int outer_reg = S::outer == 1 ? slice / 8 : 0, outer_column = S::outer == 1 ? slice % 8 : 0;

  const auto data = [&](int a) { return p.x[a] + b * p.xs[a].batch + h * p.xs[a].head; };
  const bf16 *fast = data(Factors - 1), *right = data(Factors);
  const bf16* inner = Factors > 1 ? data(Factors > 1 ? Factors - 2 : 0) : nullptr;
  const bf16* outer = Factors > 2 ? data(0) : nullptr;
  const auto load = [&](index_t n) {
    Tokens<D, Factors> x = {};
    x.fast = load_rows<D>(fast, p.xs[Factors - 1].row, n, p.N);
    x.right = load_rows<D>(right, p.xs[Factors].row, n, p.N);
    if constexpr (Factors > 1) {
      const index_t stride = p.xs[Factors - 2].row;
#pragma unroll
      for (int r = 0; r < S::inner_regs; ++r) {
        x.inner_lo[r] = load_pair<D>(inner, stride, n + g, p.N, inner_reg + r);
        x.inner_hi[r] = load_pair<D>(inner, stride, n + g + 8, p.N, inner_reg + r);
      }
    }
    if constexpr (Factors > 2) {
      x.outer_lo = load_pair<D>(outer, p.xs[0].row, n + g, p.N, outer_reg);
      x.outer_hi = load_pair<D>(outer, p.xs[0].row, n + g + 8, p.N, outer_reg);
    }
    return x;
  };

  Sums<D> sums[S::tiles] = {};
  const auto add = [&](const Tokens<D, Factors>& x) {
    const Rows<D> f = transposed(x.fast), v = transposed(x.right);
    u32 inner_lo[S::inner_regs], inner_hi[S::inner_regs], outer_lo = 0, outer_hi = 0;
    if constexpr (Factors > 1)
#pragma unroll
      for (int r = 0; r < S::inner_regs; ++r) {
        inner_lo[r] = transpose_8x8(x.inner_lo[r]);
        inner_hi[r] = transpose_8x8(x.inner_hi[r]);
      }
    if constexpr (Factors > 2)
      outer_lo = transpose_8x8(x.outer_lo), outer_hi = transpose_8x8(x.outer_hi);
    u32 of_outer_lo = 0, of_outer_hi = 0, slow_lo = 0, slow_hi = 0;
#pragma unroll
    for (int u = 0; u < S::tiles; ++u) {
      u32 a[4] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int octet = 2 * u + half, slow = octet / R, j = octet % R;
        if (octet >= S::octets) continue;
        if constexpr (Factors == 1) {
          a[half] = f.lo[j], a[2 + half] = f.hi[j];
        } else {
          if (j == 0) {
            const int i = slow % S::inner, from = 4 * (inner_column + i % 8) + t;
            slow_lo = __shfl_sync(0xffffffffu, inner_lo[i / 8], from);
            slow_hi = __shfl_sync(0xffffffffu, inner_hi[i / 8], from);
            if constexpr (Factors > 2) {
              if (i == 0) {
                const int column = 4 * (outer_column + slow / S::inner) + t;
                of_outer_lo = __shfl_sync(0xffffffffu, outer_lo, column);
                of_outer_hi = __shfl_sync(0xffffffffu, outer_hi, column);
              }
              slow_lo = multiply_pairs(of_outer_lo, slow_lo);
              slow_hi = multiply_pairs(of_outer_hi, slow_hi);
            }
          }
          a[half] = multiply_pairs(slow_lo, f.lo[j]);
          a[2 + half] = multiply_pairs(slow_hi, f.hi[j]);
        }
      }
#pragma unroll
      for (int j = 0; j < R; ++j) mma_k16(sums[u][j], a, v.lo[j], v.hi[j]);
    }
  };
  const index_t stride = index_t{splits} * 16;
  Tokens<D, Factors> x = load(split * 16);
  for (index_t n = split * 16; n < p.N; n += stride) {
    const Tokens<D, Factors> next = load(n + stride);  // under way while these are multiplied
    add(x);
    x = next;
  }

  constexpr index_t size = power(D, Factors + 1);
  float* part = parts + (head * splits + split) * size;
  // Row c of octet j of the fast factor, and so on, by the order of channels in Rows.
  const auto channel_of = [](int j, int column) { return channel<D>(j, column / 2) + column % 2; };
#pragma unroll
  for (int u = 0; u < S::tiles; ++u)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int octet = 2 * u + half, slow = octet / R;
      if (octet >= S::octets) continue;
      index_t feature = channel_of(octet % R, g);
      if constexpr (Factors > 1) {
        const int i = slow % S::inner;
        feature += index_t{channel_of(inner_reg + i / 8, inner_column + i % 8)} * D;
      }
      if constexpr (Factors > 2)
        feature += index_t{channel_of(outer_reg, outer_column + slow / S::inner)} * D * D;
#pragma unroll
      for (int j = 0; j < R; ++j)
        *reinterpret_cast<float2*>(part + feature * D + channel<D>(j, t)) = {
            sums[u][j][2 * half], sums[u][j][2 * half + 1]};
    }
}

}  // namespace

void state(const OuterStateParams<bf16>& p) {
  with_shape(p.D, p.operands - 1, [&]<int D, int Factors>() {
    using S = Slice<D, Factors>;
    const index_t units = p.B * p.H * S::count;
    // A part should be of a few tiles at least: it is written, and read by the merge.
    const index_t most = ceil_div(units * ceil_div(p.N, 64), warps);
    const index_t resident =
        resident_blocks(state_kernel<D, Factors>, warps * 32, 0, 1, most > 0 ? most : 1);
    const index_t splits = resident * warps / units > 0 ? resident * warps / units : 1;
    const Scratch<float> parts(p.B * p.H * splits * power(D, Factors + 1));
    const unsigned blocks = unsigned(ceil_div(units * splits, warps));
    state_kernel<D, Factors><<<dim3(blocks), warps * 32, 0, stream()>>>(p, int(splits), parts);
    check_launch("outer_state");
    merge_parts(p, parts, splits);
  });
}

}  // namespace flr::cuda::outer_product
