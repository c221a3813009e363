// The residual MLP's backward pass in bf16 for any width, two launches for a chunk of rows.
//
//   chain: forward again, dP_i = dA_i ∘ act'(P_i), dA_{i-1} = dA_i + dP_i W_i, dx
//   weight gradients: dW_i = Σ dP_iᵀ A_{i-1}, db_i = Σ dP_i
// From C = 80 on the gradients of all weights do not fit beside the weights on one multiprocessor,
// so the chain writes both operands of every dW to global memory and a second kernel multiplies
// them. A chunk of 101k rows is 260 MB at C = 128, L = 3. In the second kernel a warp takes one piece
// of one layer's dW over one range of row tiles, straight from global memory into fragments; at
// C = 128 a block takes the whole of it. Ranges keep their partial sums from chunk to chunk.
#include "residual_mlp/backward_bf16.cuh"
#include "residual_mlp/chain_bf16.cuh"

namespace flr::cuda::mlp {
namespace {

template <int Hid>
inline constexpr int warps = Hid == 128 ? 12 : 8;

/// Row tiles of 16 that are taken at a time: a few for each warp of 132 blocks. Fewer would fetch
/// weights and partial sums too often, more would keep less of the operands in L2, and take memory:
/// at C = 128, a million rows, 4.2, 3.6, 3.3 and 3.2 ms with 1, 2, 4 and 6 on an H100.
template <int Hid>
inline constexpr index_t chunk_row_tiles = 132 * warps<Hid> * (Hid == 128 ? 4 : 2);

/// Row tiles of 16 that a warp of the chain takes together. A block with all weights fills a
/// multiprocessor, and with one tile a warp it is bound by reading them: 512 bytes for two
/// products. Two tiles share what is read, where the registers allow it.
template <int Hid, bool Gelu>
inline constexpr int row_tiles = Hid == 96 ? 2 : 1;

template <int Hid, bool Gelu>
__global__ void __launch_bounds__(warps<Hid> * 32, 1)
    chain_kernel(const __grid_constant__ ResidualMlpBackwardParams<bf16> p,
                 Operands<Width<Hid>::tiles> operands, index_t first_row, int blocks_of_rows,
                 int slots, int active) {
  constexpr int M = row_tiles<Hid, Gelu>;
  extern __shared__ __align__(1024) uint4 shared[];
  const Weights<Hid, ResidualMlpBackwardParams<bf16>> weights(p, shared, slots);
  const int warp = __shfl_sync(0xffffffffu, int(threadIdx.x) / 32, 0);  // the same for its lanes
  if (warp >= active) return;  // only where no layer's weights are waited for
  for (int b = blockIdx.x; b < blocks_of_rows; b += gridDim.x) {
    const int tile = (b * active + warp) * M;
    backward_chain<Hid, Gelu, M>(p, weights, operands, tile, first_row + index_t{tile} * 16);
  }
}

/// A warp's piece of dW in column tiles of 16: as large as its registers allow, and a divisor.
template <int Hid>
struct Piece {
  static constexpr int tiles = Width<Hid>::tiles;
  static constexpr int m = Hid == 80 ? 1 : 2;
  static constexpr int n = Hid == 80 ? 5 : Hid == 96 ? 3 : Hid == 32 ? 2 : 4;
  static constexpr int count = (tiles / m) * (tiles / n);
  static_assert(tiles % m == 0 && tiles % n == 0);
};

constexpr int piece_warps = 8;

template <int Hid>
__global__ void __launch_bounds__(piece_warps * 32)
    weights_kernel(const __grid_constant__ ResidualMlpBackwardParams<bf16> p,
                   Operands<Width<Hid>::tiles> operands, int used, int splits, float* partials,
                   bool accumulate) {
  using P = Piece<Hid>;
  const int item = blockIdx.x * piece_warps + threadIdx.x / 32;
  const int piece = item % P::count, l = item / P::count % (p.layers + 2);
  const int split = item / P::count / (p.layers + 2);
  if (split >= splits) return;
  const int o = piece / (P::tiles / P::n) * P::m, k = piece % (P::tiles / P::n) * P::n;
  const int in = layer_in(p, l), out = layer_out(p, l);
  if (o * 16 >= out || k * 16 >= in) return;
  const int begin = int(index_t{used} * split / splits);
  const int end = int(index_t{used} * (split + 1) / splits);
  WeightTile<P::m, P::n> sums;
#pragma unroll 2
  for (int tile = begin; tile < end; ++tile)
    sums.add(operands.gradient(l, tile) + o * 32, operands.input(l, tile) + k * 32, k == 0);
  sums.write(partials + index_t{split} * partial_size(p) + partial_offset(p, l), out, in, o * 16,
             k * 16, k == 0, accumulate);
}

/// dW of a layer of 128×128 over one range of row tiles by a block, which brings every operand to
/// shared memory once, `depth` steps of `step` row tiles ahead. A warp has 64×32 of it.
struct Whole {
  static constexpr int tiles = 8, m = 4, n = 2, step = 2, depth = 4;
  static constexpr int words = step * tiles * 32;  ///< of one operand in a step
  static constexpr int bytes = depth * 2 * words * 16;
};

__global__ void __launch_bounds__(piece_warps * 32)
    whole_weights_kernel(const __grid_constant__ ResidualMlpBackwardParams<bf16> p,
                         Operands<Whole::tiles> operands, int used, float* partials, bool accumulate) {
  using B = Whole;
  extern __shared__ __align__(1024) uint4 shared[];
  const int l = blockIdx.y, split = blockIdx.x, splits = gridDim.x, warp = threadIdx.x / 32;
  const int o = warp / (B::tiles / B::n) * B::m, k = warp % (B::tiles / B::n) * B::n;
  const int begin = int(index_t{used} * split / splits);
  const int end = int(index_t{used} * (split + 1) / splits);
  const auto fetch = [&](int tile, int slot) {
    const uint4* from[2] = {operands.gradient(l, tile), operands.input(l, tile)};
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = warp; j < B::step * B::tiles; j += piece_warps)
        copy_async<16>(shared_address(shared + (slot * 2 + i) * B::words + j * 32 + threadIdx.x % 32),
                       from[i] + j * 32, tile + j / B::tiles < end);
    end_of_copies();
  };
#pragma unroll
  for (int i = 0; i + 1 < B::depth; ++i) fetch(begin + i * B::step, i);
  WeightTile<B::m, B::n> sums;
  int slot = 0;
  for (int tile = begin; tile < end; tile += B::step) {
    wait_for_copies_but<B::depth - 2>();
    __syncthreads();
    const int free = slot == 0 ? B::depth - 1 : slot - 1;
    fetch(tile + (B::depth - 1) * B::step, free);
    const uint4* gradients = shared + slot * 2 * B::words + threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < B::step; ++i)
      sums.add(gradients + (i * B::tiles + o) * 32, gradients + B::words + (i * B::tiles + k) * 32,
               k == 0);
    slot = slot + 1 == B::depth ? 0 : slot + 1;
  }
  const int in = layer_in(p, l), out = layer_out(p, l);
  sums.write(partials + index_t{split} * partial_size(p) + partial_offset(p, l), out, in, o * 16,
             k * 16, k == 0, accumulate);
}

template <int Hid>
int splits_for(const ResidualMlpBackwardParams<bf16>& p) {
  const index_t tiles = smaller(chunk_row_tiles<Hid>, ceil_div(p.rows, 16));
  if (Hid == 128)  // a block on each of 132 multiprocessors
    return int(larger(1, smaller(132 / (p.layers + 2), tiles / 4)));
  // Two blocks' worth of warps on each of 132 multiprocessors, ranges of four row tiles at least.
  const index_t want = larger(1, 132 * 2 * piece_warps / (Piece<Hid>::count * (p.layers + 2)));
  return int(larger(1, smaller(want, tiles / 4)));
}

template <int Hid, bool Gelu>
void launch(const ResidualMlpBackwardParams<bf16>& p, float* partials, int splits) {
  using Staged = Weights<Hid, ResidualMlpBackwardParams<bf16>>;
  using Words = Operands<Width<Hid>::tiles>;
  constexpr int M = row_tiles<Hid, Gelu>;
  constexpr int warps = mlp::warps<Hid>;
  constexpr index_t chunk = chunk_row_tiles<Hid>;
  const bool resident = Staged::shared_bytes(p.layers + 2, p.layers) <= max_shared_bytes();
  const int slots = resident ? p.layers + 2 : 1, bytes = Staged::shared_bytes(slots, p.layers);
  const auto chain = chain_kernel<Hid, Gelu>;
  allow_shared(chain, bytes, "residual_mlp_backward");
  // Few rows are spread over more blocks.
  int active = warps;
  while (resident && active > warps_together<Hid> && ceil_div(p.rows, active * M * 16) < 128)
    active = Hid == 128 ? active - 4 : active / 2;
  const index_t tiles = smaller(chunk, ceil_div(p.rows, active * M * 16) * active * M);
  const index_t words = Words::words(p.layers, tiles);
  Scratch<uint4> room(2 * words);  // inputs, then gradients
  const Words operands{room.data(), room.data() + words, int(tiles)};
  for (index_t row = 0; row < p.rows; row += chunk * 16) {
    const int blocks = int(ceil_div(smaller(p.rows - row, chunk * 16), active * M * 16));
    const unsigned grid = unsigned(smaller(blocks, multiprocessors()));
    chain<<<grid, warps * 32, bytes, stream()>>>(p, operands, row, blocks, slots, active);
    check_launch("residual_mlp_backward");
    const int used = blocks * active * M;
    if constexpr (Hid == 128) {
      allow_shared(whole_weights_kernel, Whole::bytes, "residual_mlp_backward");
      whole_weights_kernel<<<dim3(unsigned(splits), unsigned(p.layers + 2)), piece_warps * 32,
                             Whole::bytes, stream()>>>(p, operands, used, partials, row > 0);
    } else {
      const int items = splits * (p.layers + 2) * Piece<Hid>::count;
      weights_kernel<Hid><<<unsigned(ceil_div(items, piece_warps)), piece_warps * 32, 0, stream()>>>(
          p, operands, used, splits, partials, row > 0);
    }
    check_launch("residual_mlp_backward");
  }
}

}  // namespace

int split_backward_splits(const ResidualMlpBackwardParams<bf16>& p) {
  int splits = 1;
  with_bf16_width(p.hid, [&](auto hid) { splits = splits_for<hid()>(p); });
  return splits;
}

void split_backward(const ResidualMlpBackwardParams<bf16>& p, float* partials, int splits) {
  with_bf16_width(p.hid, [&](auto hid) {
    if (p.act == Activation::gelu_tanh)
      launch<hid(), true>(p, partials, splits);
    else
      launch<hid(), false>(p, partials, splits);
  });
}

}  // namespace flr::cuda::mlp
