// One warp's rows of a bf16 residual MLP, in registers, through layers whose weights lie in shared
// memory.
//
// 16 rows × 16 columns are the A fragment of one m16n8k16 product (mma.cuh), four registers:
//   [0] rows g, columns 2t, 2t+1   [1] rows g+8, the same   [2], [3] the same for columns + 8
// which is also how two neighbouring 16×8 accumulators hold them. So the result of a layer, rounded
// to bf16, is the operand of the next without leaving its thread.
//
// Weights keep their layout, [out, in], each row followed by 16 bytes, so that the eight 16-byte
// rows of an ldmatrix fall into different banks. ldmatrix gives the operand of x Wᵀ, its
// transposing form that of dy W. On Hopper a weight of 128×128 lies as wgmma.cuh wants it, and four
// warps take their rows through it together.
#pragma once

#include "common/device.cuh"
#include "common/mma.cuh"
#include "common/shared.cuh"
#include "common/wgmma.cuh"

namespace flr::cuda::mlp {

/// 16 rows of Tiles·16 columns.
template <int Tiles>
using Rows = std::uint32_t[Tiles][4];

template <int Hid>
struct Width {
  static constexpr int tiles = Hid / 16;           ///< column tiles of 16
  static constexpr int stride = Hid + 8;           ///< of a weight's rows in shared memory
  static constexpr int slot = Hid * stride;        ///< elements of a layer's weight there
  /// On Hopper the four warps of a warpgroup share what is read of a weight of 128×128.
  static constexpr bool together = has_wgmma && Hid == 128;
  /// Column tiles computed together.
  static constexpr int group = together ? tiles : tiles % 2 ? 1 : 2;
};
/// Warps that take rows together; known to the host, which does not know what the device has.
template <int Hid>
inline constexpr int warps_together = Hid == 128 ? 4 : 1;

__device__ inline void copy_16_bytes(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global)
               : "memory");
}

/// Copies w [n,k] to shared memory; columns and rows up to the next multiple of `unit` become 0. What is
/// on its way when this returns has arrived after wait_for_copies and a barrier: for few rows the
/// way from L2, once a layer, would take longer than the products. place(row, column) says where 8
/// columns go.
template <class Place>
__device__ inline void stage_weight(bf16* to, const bf16* w, int n, int k, int unit, Place place) {
  const int n_pad = (n + unit - 1) / unit * unit, chunks = (k + unit - 1) / unit * (unit / 8);
  const bool whole = k % 8 == 0 && reinterpret_cast<std::uintptr_t>(w) % 16 == 0;
  for (int i = threadIdx.x; i < n_pad * chunks; i += blockDim.x) {
    const int row = i / chunks, col = i % chunks * 8;
    if (whole && row < n && col < k) {
      copy_16_bytes(to + place(row, col), w + row * k + col);
      continue;
    }
    Pack<bf16, 8> v;
    if (row < n)
#pragma unroll
      for (int j = 0; j < 8; ++j)
        if (col + j < k) v.v[j] = w[row * k + col + j];
    *reinterpret_cast<Pack<bf16, 8>*>(to + place(row, col)) = v;
  }
}

__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

/// The weights of all layers in shared memory, or one slot that is refilled before each use.
/// Every thread of the block must come to every call.
template <int Hid, class P>
struct Weights {
  const P& p;
  bf16* slots;
  float* bias;  ///< [L+2, Hid], 0 behind a layer's width
  bool resident;

  __device__ Weights(const P& p, void* shared, int count)
      : p(p),
        slots(static_cast<bf16*>(shared)),
        bias(reinterpret_cast<float*>(slots + count * Width<Hid>::slot)),
        resident(count == p.layers + 2) {
    if (resident)
      for (int l = 0; l < p.layers + 2; ++l) stage(l, slots + l * Width<Hid>::slot);
    const int all = (p.layers + 2) * Hid, used = (p.layers + 1) * Hid + int(p.out);
#pragma unroll 2
    for (int i = threadIdx.x; i < all; i += blockDim.x)
      bias[i] = i < used ? to_compute(p.b[i / Hid][i % Hid]) : 0.f;
    arrive();
  }
  __device__ void stage(int l, bf16* to) const {
    stage_weight(to, p.w[l], l == p.layers + 1 ? int(p.out) : Hid, l == 0 ? int(p.in) : Hid,
                 Width<Hid>::together ? Hid : 16, [](int row, int col) {
                   return Width<Hid>::together ? in_panels(Hid, row, col)
                                               : row * Width<Hid>::stride + col;
                 });
  }
  __device__ static void arrive() {
    wait_for_copies();
    if (Width<Hid>::together) fence_for_wgmma();
    __syncthreads();
  }
  __device__ const bf16* layer(int l) const {
    if (resident) return slots + l * Width<Hid>::slot;
    __syncthreads();
    stage(l, slots);
    arrive();
    return slots;
  }
  static int shared_bytes(int count, int layers) {
    return count * Width<Hid>::slot * int(sizeof(bf16)) + (layers + 2) * Hid * int(sizeof(float));
  }
};

/// Two B fragments (16 × 16) of the product with w (see above): columns n, rows k of the operand.
template <bool Transposed>
__device__ inline void load_weight(std::uint32_t (&b)[4], const bf16* w, int stride, int n, int k) {
  const int lane = threadIdx.x % 32, low = lane % 8, second = lane / 8 % 2 * 8,
            upper = lane / 16 * 8;
  const bf16* at = Transposed ? w + (k + second + low) * stride + n + upper
                              : w + (n + upper + low) * stride + k + second;
  load_matrices<Transposed>(b, shared_address(at));
}

/// Accumulators of G column tiles, two 16×8 each. Register q of Rows holds the values
/// [q / 2][q % 2 · 2] and the one after it.
template <int G>
using Sums = float[G][2][4];

/// sums += a · op(w), for the column tiles from `first`, over `used` column tiles of a; M times 16
/// rows share what is read of w.
template <bool Transposed, int Hid, int G, int M>
__device__ inline void multiply(Sums<G> (&sums)[M], const Rows<Width<Hid>::tiles> (&a)[M],
                                const bf16* w, int first, int used) {
  using W = Width<Hid>;
  if constexpr (W::together) {
    static_assert(M == 1 && G == W::tiles);
    Wgmma::begin(sums[0]);
#pragma unroll
    for (int k = 0; k < W::tiles; ++k)  // all: with a branch between them each would wait for the last
      Wgmma::add<Transposed>(sums[0], a[0][k], Wgmma::matrix<Transposed>(shared_address(w), k));
    Wgmma::finish(sums[0]);
  } else {
#pragma unroll
    for (int k = 0; k < W::tiles; ++k) {
      if (k >= used) break;
#pragma unroll
      for (int j = 0; j < G; ++j) {
        std::uint32_t b[4];
        load_weight<Transposed>(b, w, W::stride, (first + j) * 16, k * 16);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          mma_k16(sums[m][j][0], a[m][k], b[0], b[1]);
          mma_k16(sums[m][j][1], a[m][k], b[2], b[3]);
        }
      }
    }
  }
}

/// Two neighbours in row `row` of [rows, cols]; 0 outside. `pairs`: they are one aligned word.
__device__ inline std::uint32_t load_pair(const bf16* x, index_t row, index_t rows, int col,
                                          int cols, bool pairs) {
  if (row >= rows || col >= cols) return 0;
  const bf16* at = x + row * cols + col;
  if (pairs) return *reinterpret_cast<const std::uint32_t*>(at);
  return at[0].bits | (col + 1 < cols ? std::uint32_t(at[1].bits) << 16 : 0u);
}
__device__ inline void store_pair(bf16* y, index_t row, index_t rows, int col, int cols, bool pairs,
                                  float low, float high, bool accumulate) {
  if (row >= rows || col >= cols) return;
  bf16* at = y + row * cols + col;
  if (pairs) {
    auto* word = reinterpret_cast<std::uint32_t*>(at);
    if (accumulate) low += low_bf16(*word), high += high_bf16(*word);
    *word = pack_bf16(low, high);
  } else {
    put<bf16>(at, low, accumulate);
    if (col + 1 < cols) put<bf16>(at + 1, high, accumulate);
  }
}
__device__ inline bool in_pairs(const bf16* x, int cols) {
  return cols % 2 == 0 && reinterpret_cast<std::uintptr_t>(x) % 4 == 0;
}

/// Row and column of register q of column tile `tile` in this lane.
__device__ inline int row_of(int q) {
  return threadIdx.x % 32 / 4 + q % 2 * 8;
}
__device__ inline int col_of(int tile, int q) {
  return tile * 16 + q / 2 * 8 + int(threadIdx.x) % 4 * 2;
}

template <int Tiles>
__device__ inline void load_rows(Rows<Tiles>& a, const bf16* x, index_t row, index_t rows,
                                 int cols) {
  const bool pairs = in_pairs(x, cols);
#pragma unroll
  for (int k = 0; k < Tiles; ++k)
#pragma unroll
    for (int q = 0; q < 4; ++q)
      a[k][q] = load_pair(x, row + row_of(q), rows, col_of(k, q), cols, pairs);
}

/// Sets the accumulators to what a layer adds to the product: its bias, or rows, or nothing.
template <int G>
__device__ inline void start(Sums<G>& sums, const float* bias, int first) {
#pragma unroll
  for (int j = 0; j < G; ++j)
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const float2 b = *reinterpret_cast<const float2*>(bias + col_of(first + j, q));
      sums[j][q / 2][q % 2 * 2] = b.x, sums[j][q / 2][q % 2 * 2 + 1] = b.y;
    }
}
template <int Tiles, int G>
__device__ inline void start(Sums<G>& sums, const Rows<Tiles>& a, int first, bool add) {
#pragma unroll
  for (int j = 0; j < G; ++j)
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      sums[j][q / 2][q % 2 * 2] = add ? low_bf16(a[first + j][q]) : 0.f;
      sums[j][q / 2][q % 2 * 2 + 1] = add ? high_bf16(a[first + j][q]) : 0.f;
    }
}

/// The accumulators as rows, rounded.
template <int Tiles, int G>
__device__ inline void round_sums(Rows<Tiles>& a, const Sums<G>& sums, int first) {
#pragma unroll
  for (int j = 0; j < G; ++j)
#pragma unroll
    for (int q = 0; q < 4; ++q)
      a[first + j][q] = pack_bf16(sums[j][q / 2][q % 2 * 2], sums[j][q / 2][q % 2 * 2 + 1]);
}

/// One layer: a ← f(W a + b), G column tiles at a time: f(m, tile, value [q][2], new registers).
template <int Hid, int G, int M, class F>
__device__ inline void layer(Rows<Width<Hid>::tiles> (&a)[M], const bf16* w, const float* bias,
                             int used, F&& f) {
  using W = Width<Hid>;
  Rows<W::tiles> next[M];
#pragma unroll
  for (int first = 0; first < W::tiles; first += G) {
    Sums<G> sums[M];
#pragma unroll
    for (int m = 0; m < M; ++m) start(sums[m], bias, first);
    multiply<false, Hid>(sums, a, w, first, used);
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int j = 0; j < G; ++j) f(m, first + j, sums[m][j], next[m][first + j]);
  }
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int k = 0; k < W::tiles; ++k)
#pragma unroll
      for (int q = 0; q < 4; ++q) a[m][k][q] = next[m][k][q];
}

}  // namespace flr::cuda::mlp
