// Tiles of attention's one-pass backward (tensor_backward_fused.cu): where they lie in shared memory, what a
// thread brings there, and what it takes of the parts of dq that warps leave there.
#pragma once

#include "sdpa/layout.cuh"
#include "sdpa/tensor_gradient.cuh"

namespace flr::cuda::attention::tensor {

/// Shared memory is a ring of steps of sixteen queries: q, dy, what there is of pairs of queries, and the
/// warps' parts of dq.
template <int Depth>
struct FusedTiling {
  static constexpr int depth = Depth, warps = 8, threads = 32 * warps;
  static constexpr int groups = Depth <= 16 ? 4 : 2, keys = warps * groups * 16;  ///< of sixteen keys, a warp
  static constexpr int ahead = 2;                               ///< groups whose scores are on their way
  static constexpr int tile = 1024 / Depth, steps = tile / 16;  ///< of queries
  static_assert(steps % 2 == 0);                                // columns take turns
  static constexpr int blocks_of_8 = Depth / 8;
  /// δ, δ′, δ, δ′, as accumulators take them, L, L′, and 8 bytes that keep the next ones in line.
  static constexpr int pair_bytes = 32;
  /// float4 that a warp leaves of a step; as many pieces of q and dy are copied.
  static constexpr int part = blocks_of_8 * 32;
  static_assert(steps * part <= threads && tile <= threads);  // a thread takes one, or one query
  static constexpr int dy = 16 * Depth * 2, pairs = 2 * dy, parts = pairs + 8 * pair_bytes;  ///< in a step
  static constexpr int step_bytes = parts + warps * part * 16, tile_bytes = steps * step_bytes;
  static constexpr int ring_bytes = 3 * tile_bytes;  ///< see fused_kernel
  static constexpr int shared_bytes = ring_bytes + 8;  ///< and a barrier
};

/// A row that no head has: neither this one nor the eighth after it exists.
constexpr int no_row = 1 << 30;

/// What a thread copies of each tile: at most 16 bytes of q or dy, and at most a query's L and δ. Zeros
/// beyond the last query. Tiles are taken in their order, so that addresses are sums.
template <class F>
class Copies {
 public:
  __device__ Copies(const SdpaBackwardParams<bf16>& call, const QueryStatistics<bf16>* statistics, index_t at) {
    const SdpaParams<bf16>& p = call.f;
    const int x = int(threadIdx.x), row = x / F::blocks_of_8 % F::tile, piece = x % F::blocks_of_8;
    const bool second = x / F::blocks_of_8 >= F::tile;
    const index_t stride = second ? call.dos.row : p.qs.row;
    from_ = second ? head(call.dout, call.dos, at, p.H) : head(p.q, p.qs, at, p.H);
    from_ += row * stride + piece * 8, tile_stride_ = F::tile * stride;
    row_ = piece * 8 < int(second ? p.Dv : p.D) ? row : no_row;
    to_ = unsigned(row / 16 * F::step_bytes + (second ? F::dy : 0)) + Tile<bf16, F::depth>::offset(row % 16, piece);
    of_ = statistics + at * p.Nq + query();
  }

  /// Begins to copy the next tile, of which `left` queries exist.
  __device__ void begin(unsigned tile, int left) {
    if (int(threadIdx.x) < F::steps * F::part) copy_async<16>(tile + to_, from_, row_ < left);
    if (query() < F::tile) {
      const unsigned to = tile + unsigned(query() / 16 * F::step_bytes + F::pairs + query() % 16 / 2 * F::pair_bytes +
                                          query() % 2 * 4);
      const bool there = query() < left;
      copy_async<4>(to, &of_->v[1], there);
      copy_async<4>(to + 8, &of_->v[1], there);
      copy_async<4>(to + 16, &of_->v[0], there);
    }
    from_ += tile_stride_, of_ += F::tile;
  }

 private:
  /// The last threads take these: there may be some that copy nothing else.
  static __device__ int query() { return F::threads - 1 - int(threadIdx.x); }

  const bf16* from_;
  index_t tile_stride_;
  int row_;
  unsigned to_;
  const QueryStatistics<bf16>* of_;
};

/// What a thread adds up of the warps' parts of dq, tile by tile: two channels of two queries.
template <class F>
class SumOfParts {
 public:
  __device__ SumOfParts(const SdpaParams<bf16>& p, const GradientTarget<bf16>& target, index_t part, index_t at)
      : target_(target), factor_(-p.scale) {  // parts are negated
    const int x = int(threadIdx.x), row = x / F::part * 16 + x % 32 / 4;
    const int channel = x / 32 % F::blocks_of_8 * 8 + x % 4 * 2;
    row_ = channel < int(p.D) ? row : no_row;
    if (target.part) {
      to_ = reinterpret_cast<char*>(target.part + (part * p.Nq + row) * p.D + channel);
      eight_rows_ = 8 * p.D * int(sizeof(float));
    } else {
      to_ = reinterpret_cast<char*>(head(target.to, target.s, at, p.H) + row * target.s.row + channel);
      eight_rows_ = 8 * target.s.row * int(sizeof(bf16));
    }
  }

  /// Of the next tile, of which `left` queries exist.
  __device__ void add(unsigned tile, int left) {
    const int x = int(threadIdx.x);
    if (x >= F::steps * F::part) return;
    const unsigned from = tile + unsigned(x / F::part * F::step_bytes + F::parts + x % F::part * 16);
    float4 sum = load4(from);
#pragma unroll
    for (int w = 1; w < F::warps; ++w) {
      const float4 part = load4(from + unsigned(w * F::part * 16));
      sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    if (target_.part) put<float>(sum, left, false);
    else put<bf16>(sum, left, target_.accumulate);
    to_ += F::tile / 8 * eight_rows_;
  }

 private:
  template <class T>
  __device__ void put(const float4& sum, int left, bool accumulate) const {
    T* const low = reinterpret_cast<T*>(to_);
    T* const high = reinterpret_cast<T*>(to_ + eight_rows_);
    if (row_ < left) put_pair(low, sum.x * factor_, sum.y * factor_, accumulate);
    if (row_ + 8 < left) put_pair(high, sum.z * factor_, sum.w * factor_, accumulate);
  }

  const GradientTarget<bf16>& target_;
  float factor_;
  char* to_;
  index_t eight_rows_;  ///< in bytes
  int row_;
};

}  // namespace flr::cuda::attention::tensor
