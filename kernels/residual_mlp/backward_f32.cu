// The residual MLP's backward pass in float: the chain of a chunk of rows (chain_f32.cu), then
//
//   dW_i = Σ dP_iᵀ A_{i-1}, db_i = Σ dP_i over its rows, with true float products.
// Bound by FFMA, as much as the forward pass. A block takes a 64 × 64 piece of one layer's dW over
// one range of the chunk's rows, 32 rows at a time through shared memory, 4 × 4 sums a thread;
// ranges keep their partial sums from chunk to chunk and are added in order at the end. Chunks are
// short enough that what the chain left is mostly still in L2.
#include "residual_mlp/backward_f32.cuh"
#include "residual_mlp/tile_f32.cuh"

namespace flr::cuda::mlp {
namespace {

constexpr int depth = 32;  ///< rows in shared memory

/// One operand's 32 rows × 64 columns, on their way to shared memory.
struct Stage {
  const float* x;
  int cols, col;
  bool fours;
  float4 v[2];

  __device__ Stage(const float* x, int cols, int col0)
      : x(x), cols(cols), col(col0 + tile_col()), fours(in_fours(x, cols)) {}
  __device__ void fetch(index_t row, index_t end) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const index_t r = row + tile_row(i);
      v[i] = r < end ? load_four(x + r * cols, col, cols, fours) : make_float4(0, 0, 0, 0);
    }
  }
  __device__ void put(float (&to)[depth][panel]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) *reinterpret_cast<float4*>(&to[tile_row(i)][tile_col()]) = v[i];
  }
};

__global__ void __launch_bounds__(tile_threads)
    weights_kernel(const __grid_constant__ ResidualMlpBackwardParams<float> p, ChunkRows chunk,
                   int splits, float* partials, bool accumulate) {
  __shared__ alignas(16) float left[depth][panel], right[depth][panel];
  const int side = int(ceil_div(p.hid, panel));
  const int k0 = blockIdx.x % side * panel, o0 = blockIdx.x / side % side * panel;
  const int l = blockIdx.x / (side * side) % (p.layers + 2);
  const int split = blockIdx.x / (side * side) / (p.layers + 2);
  const int in = layer_in(p, l), out = layer_out(p, l);
  if (k0 >= in || o0 >= out) return;
  const index_t begin = chunk.rows * split / splits, end = chunk.rows * (split + 1) / splits;
  const index_t layer_size = chunk.capacity * p.hid;
  Stage d(l <= p.layers ? chunk.gradients + l * layer_size : p.dy + chunk.first * p.out, out, o0);
  Stage a(l == 0 ? p.x + chunk.first * p.in : chunk.activations + (l - 1) * layer_size, in, k0);

  // Thread (i, j): outputs 4i … 4i+3, inputs 4j … 4j+3.
  const int i = threadIdx.x / 16 * 4, j = threadIdx.x % 16 * 4;
  float sums[4][4] = {}, bias[4] = {};
  d.fetch(begin, end), a.fetch(begin, end);
  for (index_t row = begin; row < end; row += depth) {
    d.put(left), a.put(right);
    __syncthreads();
    if (row + depth < end) d.fetch(row + depth, end), a.fetch(row + depth, end);
#pragma unroll 8
    for (int r = 0; r < depth; ++r) {
      const float4 x = *reinterpret_cast<const float4*>(&left[r][i]);
      const float4 y = *reinterpret_cast<const float4*>(&right[r][j]);
      const float u[4] = {x.x, x.y, x.z, x.w}, v[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int m = 0; m < 4; ++m) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[m][c] = fmaf(u[m], v[c], sums[m][c]);
        bias[m] += u[m];
      }
    }
    __syncthreads();
  }

  float* to = partials + index_t{split} * partial_size(p) + partial_offset(p, l);
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    const int o = o0 + i + m;
    if (o >= out) break;
#pragma unroll
    for (int c = 0; c < 4; ++c)
      if (k0 + j + c < in) put<float>(to + o * in + k0 + j + c, sums[m][c], accumulate);
    if (k0 == 0 && j == 0) put<float>(to + out * in + o, bias[m], accumulate);
  }
}

}  // namespace

void backward_f32(const ResidualMlpBackwardParams<float>& p) {
  constexpr index_t longest_tile = 128, chunk_bytes = index_t{64} << 20;
  const index_t row_bytes = 2 * (p.layers + 1) * p.hid * index_t{sizeof(float)};
  const index_t side = ceil_div(p.hid, panel), pieces = side * side * (p.layers + 2);
  // At least half the multiprocessors must find a tile.
  const index_t most =
      larger(66 * longest_tile, chunk_bytes / row_bytes / longest_tile * longest_tile);
  ChunkRows chunk;
  chunk.capacity = smaller(most, ceil_div(p.rows, longest_tile) * longest_tile);
  const int splits =
      p.rows == 0
          ? 0
          : int(larger(1, smaller(ceil_div(132 * 4, pieces), chunk.capacity / (2 * depth))));
  Scratch<float> partials(larger(1, splits * index_t{partial_size(p)}));
  if (p.rows > 0) {
    const index_t room = (p.layers + 1) * chunk.capacity * p.hid;
    Scratch<float> activations(room), gradients(room);
    chunk.activations = activations, chunk.gradients = gradients;
    for (; chunk.first < p.rows; chunk.first += chunk.capacity) {
      chunk.rows = smaller(chunk.capacity, p.rows - chunk.first);
      tf32_width(p.hid) ? chain_tf32(p, chunk) : chain_f32(p, chunk);
      weights_kernel<<<unsigned(splits * pieces), tile_threads, 0, stream()>>>(
          p, chunk, splits, partials, chunk.first > 0);
      check_launch("residual_mlp_backward");
    }
  }
  merge_gradients(p, partials, splits);
}

}  // namespace flr::cuda::mlp
