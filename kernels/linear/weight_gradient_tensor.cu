// dw = dpᵀ x in bf16, and db = Σ dp with it, in one pass over both on tensor cores.
//
// A million rows, a few hundred columns: a block takes a tile of dw, up to 128×128, and a stretch of the
// rows; its sums stay in registers, and the stretches' results are added in order afterwards. 64 rows at
// a time arrive in shared memory while earlier ones are multiplied. Both operands are summed over their
// rows, so ldmatrix transposes both (sdpa/tensor_tile.cuh). The sums of dp are a product with ones.
//
// Bound by reading dp and x once (x once more for every 128 outputs, from L2): 64000 rows, 128 inputs,
// 384 outputs are 65 MB and 6.3 GFLOP, 24 µs and about 10.
#include <algorithm>

#include "common/device.cuh"
#include "linear/parts.hpp"
#include "sdpa/tensor_tile.cuh"

namespace flr::cuda::dense {
namespace {

namespace tensor = attention::tensor;
using Slice = std::uint32_t[4];

constexpr int threads = 256, step = 64;  ///< rows at a time

template <int M, int N>
struct Tiling {
  static constexpr int stages = M * N == 128 * 128 ? 4 : 3, blocks = M * N == 128 * 128 ? 1 : 2;
  static constexpr int dp_bytes = step * M * 2, stage_bytes = step * (M + N) * 2;
  static constexpr int shared_bytes = stages * stage_bytes;
  /// Of a warp: two of them share the outputs, four the inputs.
  static constexpr int m = M / 2, n = N / 4;
};

struct Problem {
  index_t rows, stretch;  ///< a block's rows, a multiple of `step`
  int in, out;            ///< multiples of 8
  const bf16 *dp, *x;
  float *dw, *db;  ///< of each stretch: [out,in] and [out]; db may be null
};

template <int M, int N>
__global__ void __launch_bounds__(threads, Tiling<M, N>::blocks)
    weight_gradient_kernel(const __grid_constant__ Problem p) {
  using T = Tiling<M, N>;
  extern __shared__ uint4 stages[];
  const unsigned memory = shared_address(stages);
  const tensor::Tile<bf16, M> dp_tile;
  const tensor::Tile<bf16, N> x_tile;
  const int warp = int(threadIdx.x) / 32, g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
  // The tiles of a stretch are neighbours: what one has read is in L2 for the others.
  const int across = (p.in + N - 1) / N, tiles = (p.out + M - 1) / M * across;
  const int tile = int(blockIdx.x) % tiles, part = int(blockIdx.x) / tiles;
  const int first_out = tile / across * M, first_in = tile % across * N;
  const index_t begin = part * p.stretch, limit = begin + p.stretch, end = limit < p.rows ? limit : p.rows;
  const int count = int(end - begin), steps = (count + step - 1) / step;
  const bf16* dp = p.dp + begin * p.out + first_out;
  const bf16* x = p.x + begin * p.in + first_in;

  const auto fetch = [&](int s) {
    if (s < steps) {
      const unsigned to = memory + unsigned(s % T::stages * T::stage_bytes);
      const index_t row = index_t{s} * step;
      const int left = count - s * step;
      using DpTile = tensor::Tile<bf16, M>;
      using XTile = tensor::Tile<bf16, N>;
      DpTile::template copy<step, threads>(to, dp + row * p.out, p.out, left, p.out - first_out);
      XTile::template copy<step, threads>(to + T::dp_bytes, x + row * p.in, p.in, left, p.in - first_in);
    }
    end_of_copies();  // one for each step, so that they can be counted
  };
  const int own_out = warp / 4 * T::m, own_in = warp % 4 * T::n;
  const bool sums_dp = p.db && first_in == 0 && own_in == 0;
  float sums[T::m / 16][T::n / 8][4] = {}, dp_sums[T::m / 16][4] = {};

#pragma unroll
  for (int s = 0; s + 1 < T::stages; ++s) fetch(s);
  for (int s = 0; s < steps; ++s) {
    wait_for_copies_but<T::stages - 2>();
    __syncthreads();  // and nobody reads the stage before this one any more
    fetch(s + T::stages - 1);
    const unsigned dp_at = memory + unsigned(s % T::stages * T::stage_bytes), x_at = dp_at + T::dp_bytes;
#pragma unroll
    for (int k = 0; k < step; k += 16) {
      Slice b[T::n / 16];
#pragma unroll
      for (int j = 0; j < T::n / 16; ++j) x_tile.terms(b[j], x_at, k, own_in / 16 + j);
#pragma unroll
      for (int i = 0; i < T::m / 16; ++i) {
        Slice c;  // A lies across: its registers 1 and 2 change places
        dp_tile.terms(c, dp_at, k, own_out / 16 + i);
        const Slice a = {c[0], c[2], c[1], c[3]};
#pragma unroll
        for (int j = 0; j < T::n / 16; ++j) {
          mma_k16(sums[i][2 * j], a, b[j][0], b[j][1]);
          mma_k16(sums[i][2 * j + 1], a, b[j][2], b[j][3]);
        }
        constexpr std::uint32_t ones = 0x3f803f80u;
        if (sums_dp) mma_k16(dp_sums[i], a, ones, ones);
      }
    }
  }

  float* const dw = p.dw + index_t{part} * p.out * p.in;
#pragma unroll
  for (int i = 0; i < T::m / 16; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int out = first_out + own_out + 16 * i + 8 * half + g;
      if (out >= p.out) continue;
#pragma unroll
      for (int j = 0; j < T::n / 8; ++j) {
        const int in = first_in + own_in + 8 * j + 2 * t;
        if (in < p.in)
          *reinterpret_cast<float2*>(dw + index_t{out} * p.in + in) = {sums[i][j][2 * half], sums[i][j][2 * half + 1]};
      }
      if (sums_dp && t == 0) p.db[index_t{part} * p.out + out] = dp_sums[i][2 * half];
    }
}

template <int M, int N>
void launch(index_t rows, int in, int out, const bf16* dp, const bf16* x, float* dw, bool add_dw, float* db,
            bool add_db) {
  using T = Tiling<M, N>;
  allow_shared(weight_gradient_kernel<M, N>, T::shared_bytes, "weight_gradient");
  // As many blocks as are on the chip at once, but 256 rows at least, and 16384 at most: tensor cores
  // cut off what they add.
  const index_t tiles = ceil_div(out, M) * ceil_div(in, N), chip = index_t{multiprocessors()} * T::blocks;
  const index_t wanted = std::max({index_t{1}, std::min(chip / tiles, rows / 256), ceil_div(rows, 16384)});
  const index_t stretch = ceil_div(ceil_div(rows, wanted), step) * step, parts = ceil_div(rows, stretch);
  const Scratch<float> dw_parts(parts * out * in), db_parts(db ? parts * out : 0);
  const Problem p{rows, stretch, in, out, dp, x, dw_parts.data(), db ? db_parts.data() : nullptr};
  const unsigned blocks = unsigned(tiles * parts);
  weight_gradient_kernel<M, N><<<blocks, threads, T::shared_bytes, stream()>>>(p);
  check_launch("weight_gradient");
  sum_parts<float>(parts, {{index_t{out} * in, dw_parts.data(), dw, add_dw}, {out, db_parts.data(), db, add_db}});
}

}  // namespace

bool tensor_weight_gradient(index_t rows, index_t in, index_t out, const bf16* dp, const bf16* x, float* dw,
                            bool add_dw, float* db, bool add_db) {
  // Below, there are few rows for a block; above, few blocks for a tile, and a library's larger tiles
  // read less.
  if (rows < 1024 || in % 8 || out % 8 || in < 32 || out < 32 || in * out > 512 * 1024) return false;
  if ((reinterpret_cast<std::uintptr_t>(dp) | reinterpret_cast<std::uintptr_t>(x)) % 16) return false;
  const auto run = [&]<int M, int N>() {
    if (Tiling<M, N>::shared_bytes > max_shared_bytes()) return false;
    launch<M, N>(rows, int(in), int(out), dp, x, dw, add_dw, db, add_db);
    return true;
  };
  if (out <= 64) return in <= 64 ? run.template operator()<64, 64>() : run.template operator()<64, 128>();
  return in <= 64 ? run.template operator()<128, 64>() : run.template operator()<128, 128>();
}

}  // namespace flr::cuda::dense
