// The residual MLP's forward pass in bf16: all layers of a tile of rows in registers.
//
//   a₀ = act(W₀x + b₀) (+ x), aᵢ = aᵢ₋₁ + act(Wᵢaᵢ₋₁ + bᵢ), y = W_{L+1}a_L + b_{L+1} (+ a_L)
// Reads x, writes y. At C = 64, L = 3 and a million rows that is 256 MB (0.09 ms on an H100), 41
// GFLOP of m16n8k16 and 256M tanh (0.07 ms), and 128 bytes of weights from shared memory a product.
// A block of eight warps stays for many tiles and holds all weights in shared memory; where they do
// not fit, one layer at a time, read again from L2 for every tile. A warp takes 16 or 32 rows
// through all layers; activations are rounded to bf16 between layers, sums are float.
#include "residual_mlp/activation.cuh"
#include "residual_mlp/entries.hpp"
#include "residual_mlp/tile_bf16.cuh"

namespace flr::cuda::mlp {
namespace {

template <int Hid>
inline constexpr int warps = Hid == 128 ? 12 : 8;

/// 32 rows a warp halve the reads of weights where the registers allow it. Where there are too few
/// rows for the chip, more warps with 16 each are done sooner.
template <int Hid>
inline constexpr int most_row_tiles = Hid == 32 || Hid == 64 ? 2 : 1;

template <int Hid, int M, bool Gelu>
__global__ void __launch_bounds__(warps<Hid> * 32)
    forward_kernel(const __grid_constant__ ResidualMlpParams<bf16> p, int slots, int active) {
  using W = Width<Hid>;
  constexpr int G = W::group;
  extern __shared__ __align__(1024) uint4 shared[];
  const Weights<Hid, ResidualMlpParams<bf16>> weights(p, shared, slots);
  const int warp = __shfl_sync(0xffffffffu, int(threadIdx.x) / 32, 0);  // the same for its lanes
  const int in = int(p.in), out = int(p.out);
  const index_t block_rows = active * M * 16;
  for (index_t r = blockIdx.x * block_rows; r < p.rows; r += gridDim.x * block_rows) {
    // Few rows are spread over more blocks: the other warps only help to fetch weights.
    const bool idle = warp >= active;
    if (idle && weights.resident) continue;
    const index_t row = idle ? p.rows : r + warp * M * 16;
    Rows<W::tiles> a[M];
#pragma unroll
    for (int m = 0; m < M; ++m) load_rows<W::tiles>(a[m], p.x, row + m * 16, p.rows, in);

    for (int l = 0; l <= p.layers; ++l) {
      const bool skip = l > 0 || p.residual_in;
      const auto point = [&](int m, int k, const float(&v)[2][4], std::uint32_t(&next)[4]) {
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          float low = activate<true, Gelu>(p.act, v[q / 2][q % 2 * 2]).value;
          float high = activate<true, Gelu>(p.act, v[q / 2][q % 2 * 2 + 1]).value;
          if (skip) low += low_bf16(a[m][k][q]), high += high_bf16(a[m][k][q]);
          next[q] = pack_bf16(low, high);
        }
      };
      layer<Hid, G>(a, weights.layer(l), weights.bias + l * Hid, l ? W::tiles : (in + 15) / 16,
                    point);
    }

    const bf16* w = weights.layer(p.layers + 1);
    const float* bias = weights.bias + (p.layers + 1) * Hid;
    const bool pairs = in_pairs(p.y, out);
#pragma unroll
    for (int first = 0; first < W::tiles; first += G) {
      if (first * 16 >= out) break;
      Sums<G> sums[M];
#pragma unroll
      for (int m = 0; m < M; ++m) start(sums[m], bias, first);
      multiply<false, Hid>(sums, a, w, first, W::tiles);
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int j = 0; j < G; ++j)
#pragma unroll
          for (int q = 0; q < 4; ++q) {
            float low = sums[m][j][q / 2][q % 2 * 2], high = sums[m][j][q / 2][q % 2 * 2 + 1];
            const std::uint32_t last = a[m][first + j][q];
            if (p.residual_out) low += low_bf16(last), high += high_bf16(last);
            store_pair(p.y, row + m * 16 + row_of(q), p.rows, col_of(first + j, q), out, pairs, low,
                       high, false);
          }
    }
  }
}

template <int Hid, int M, bool Gelu>
void launch(const ResidualMlpParams<bf16>& p) {
  using Staged = Weights<Hid, ResidualMlpParams<bf16>>;
  const auto kernel = forward_kernel<Hid, M, Gelu>;
  const bool resident = Staged::shared_bytes(p.layers + 2, p.layers) <= max_shared_bytes();
  const int slots = resident ? p.layers + 2 : 1, bytes = Staged::shared_bytes(slots, p.layers);
  allow_shared(kernel, bytes, "residual_mlp");
  int active = warps<Hid>;
  while (active > warps_together<Hid> && ceil_div(p.rows, active * M * 16) < 128)
    active = Hid == 128 ? active - 4 : active / 2;
  const index_t tiles = ceil_div(p.rows, active * M * 16);
  const index_t most =
      multiprocessors() * larger(1, smaller(4, max_shared_bytes() / (bytes + 1024)));
  kernel<<<unsigned(smaller(tiles, most)), warps<Hid> * 32, bytes, stream()>>>(p, slots, active);
  check_launch("residual_mlp");
}
template <int Hid, bool Gelu>
void launch(const ResidualMlpParams<bf16>& p) {
  constexpr int most = most_row_tiles<Hid>;
  if (most > 1 && p.rows < index_t{multiprocessors()} * 4 * 16 * most)
    launch<Hid, 1, Gelu>(p);
  else
    launch<Hid, most, Gelu>(p);
}

}  // namespace

bool bf16_width(index_t hid) {
  bool found = false;
  with_bf16_width(hid, [&](auto) { found = true; });
  return found;
}

void forward_bf16(const ResidualMlpParams<bf16>& p) {
  with_bf16_width(p.hid, [&](auto hid) {
    if (p.act == Activation::gelu_tanh)
      launch<hid(), true>(p);
    else
      launch<hid(), false>(p);
  });
}

}  // namespace flr::cuda::mlp
