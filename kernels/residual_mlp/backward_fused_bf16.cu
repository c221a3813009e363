// The residual MLP's backward pass in bf16 for widths of 32 and 64, one launch and a merge.
//
//   forward again, dP_i = dA_i ∘ act'(P_i), dA_{i-1} = dA_i + dP_i W_i, dW_i = Σ dP_iᵀ A_{i-1}
// A block of eight warps keeps all weights in shared memory and the gradients of all weights in
// registers, and stays for many tiles of 128 rows. In a tile each warp takes 16 rows through the
// chain and leaves both operands of every dW in shared memory; then the eight warps share out the
// 32×32 pieces of all dW, over all 128 rows.
// Reads x and dy, writes dx. At C = 64, L = 3 a tile moves 1.2 MB through shared memory (9.4k
// clocks), which bounds the kernel: 0.32 ms for a million rows, above 0.13 ms for bytes.
#include "residual_mlp/backward_bf16.cuh"
#include "residual_mlp/chain_bf16.cuh"

namespace flr::cuda::mlp {
namespace {

constexpr int warps = 8;
constexpr int most_pieces = 3;  ///< 32×32 pieces of dW in a warp's registers

/// 32×32 pieces of one layer's dW, counted as if it were [hid,hid].
template <int Hid>
inline constexpr int pieces = (Hid / 32) * (Hid / 32);

template <int Hid, bool Gelu>
__global__ void __launch_bounds__(warps * 32, 1)
    fused_kernel(const __grid_constant__ ResidualMlpBackwardParams<bf16> p, float* partials,
                 int active) {
  using W = Width<Hid>;
  using Staged = Weights<Hid, ResidualMlpBackwardParams<bf16>>;
  extern __shared__ uint4 shared[];
  const int layers = p.layers + 2, warp = threadIdx.x / 32;
  const index_t words = Operands<W::tiles>::words(p.layers, warps);
  const Operands<W::tiles> operands{shared, shared + words, active};
  const Staged weights(p, shared + 2 * words, layers);

  WeightTile<2, 2> sums[most_pieces];
  const index_t block_rows = active * 16;
  for (index_t r = blockIdx.x * block_rows; r < p.rows; r += gridDim.x * block_rows) {
    // Few rows are spread over more blocks: the other warps only help with weights and with dW.
    if (warp < active) backward_chain<Hid, Gelu>(p, weights, operands, warp, r + warp * 16);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < most_pieces; ++i) {
      const int piece = i * warps + warp, l = piece / pieces<Hid>, within = piece % pieces<Hid>;
      if (l >= layers) break;
      const int o = within / (Hid / 32) * 2, k = within % (Hid / 32) * 2;
#pragma unroll 2
      for (int tile = 0; tile < active; ++tile)
        sums[i].add(operands.gradient(l, tile) + o * 32, operands.input(l, tile) + k * 32, k == 0);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < most_pieces; ++i) {
    const int piece = i * warps + warp, l = piece / pieces<Hid>, within = piece % pieces<Hid>;
    if (l >= layers) break;
    const int o = within / (Hid / 32) * 32, k = within % (Hid / 32) * 32;
    sums[i].write(partials + index_t{blockIdx.x} * partial_size(p) + partial_offset(p, l),
                  layer_out(p, l), layer_in(p, l), o, k, k == 0, false);
  }
}

template <int Hid>
int shared_bytes(int layers) {
  return int(2 * Operands<Width<Hid>::tiles>::words(layers, warps) * 16) +
         Weights<Hid, ResidualMlpBackwardParams<bf16>>::shared_bytes(layers + 2, layers);
}

template <int Hid>
bool fits(const ResidualMlpBackwardParams<bf16>& p) {
  return (p.layers + 2) * pieces<Hid> <= most_pieces * warps &&
         shared_bytes<Hid>(p.layers) <= max_shared_bytes();
}

template <int Hid, bool Gelu>
void launch(const ResidualMlpBackwardParams<bf16>& p, float* partials, int active) {
  const auto kernel = fused_kernel<Hid, Gelu>;
  const int bytes = shared_bytes<Hid>(p.layers);
  allow_shared(kernel, bytes, "residual_mlp_backward");
  const index_t blocks = smaller(fused_blocks, ceil_div(p.rows, active * 16));
  kernel<<<unsigned(blocks), warps * 32, bytes, stream()>>>(p, partials, active);
  check_launch("residual_mlp_backward");
}

}  // namespace

bool fused_backward_fits(const ResidualMlpBackwardParams<bf16>& p) {
  return p.hid == 64 ? fits<64>(p) : p.hid == 32 && fits<32>(p);
}

namespace {

/// Warps of a block that take rows. Each block leaves a part of all gradients, so not too many.
int active_warps(index_t rows) {
  int active = warps;
  while (active > 2 && ceil_div(rows, active * 16) < 64) active /= 2;
  return active;
}

}  // namespace

int fused_backward_splits(const ResidualMlpBackwardParams<bf16>& p) {
  return int(smaller(fused_blocks, ceil_div(p.rows, active_warps(p.rows) * 16)));
}

void fused_backward(const ResidualMlpBackwardParams<bf16>& p, float* partials) {
  const bool gelu = p.act == Activation::gelu_tanh;
  const int active = active_warps(p.rows);
  if (p.hid == 64)
    gelu ? launch<64, true>(p, partials, active) : launch<64, false>(p, partials, active);
  else
    gelu ? launch<32, true>(p, partials, active) : launch<32, false>(p, partials, active);
}

}  // namespace flr::cuda::mlp
