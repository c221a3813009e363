// Which tokens and channels a lane holds, and how they come and go.
//
// Lane 4g + t holds tokens g and g + 8 of its warp's 16, and of each 32 channels the eight from 8t
// on: 16 bytes of bf16, and four lanes a run of 64. Block j of the fragments (mma.cuh), columns 2t and
// 2t + 1, are channels 32(j/4) + 8t + 2(j%4) and the next; the order of channels in a product is free.
#pragma once

#include "causal_linear/feature.cuh"
#include "common/device.cuh"
#include "common/shared.cuh"
#include "linear_attention/problem.hpp"
#include "linear_attention/turn.cuh"

namespace flr::cuda::linear_attention {

/// A lane's channels of its two tokens.
template <int Chunks>
using Values = float[2][Chunks][8];

/// The channel of a fragment's block at column (or row) 0 … 7.
__device__ inline int channel_of(int block, int column) {
  return 32 * (block / 4) + 8 * (column / 2) + 2 * (block % 4) + column % 2;
}

/// Where a warp and its lanes are. With Parts = W/32 > 1, so many warps share tokens and a head, each
/// with 32 rows of the state.
template <int W, int Parts = 1>
struct Place {
  static constexpr int chunks = W / 32;
  int g, t;
  int part;           ///< of Parts
  int slot;           ///< the warp's group among those of its block
  int b, first_head;  ///< of the group
  index_t split, splits;
  bool group_exists;
  int head, channel;    ///< of the lane's first channel
  bool exists[chunks];  ///< whether the lane's channels are a head's
  int lanes_of_head;    ///< lanes that hold a token of the head

  __device__ explicit Place(const Sizes& n) {
    const int lane = int(threadIdx.x % 32), warp = int(threadIdx.x / 32);
    g = lane / 4, t = lane % 4;
    part = warp % Parts, slot = warp / Parts % n.beside;
    const int group_blocks = (n.groups + n.beside - 1) / n.beside;
    const int group = int(blockIdx.y) % group_blocks * n.beside + slot;
    b = int(blockIdx.y) / group_blocks, first_head = group * n.together;
    const int at_once = warps / (Parts * n.beside);
    split = index_t{blockIdx.x} * at_once + warp / (Parts * n.beside);
    splits = index_t{gridDim.x} * at_once;
    group_exists = group < n.groups;
    const int within = n.head_of(8 * t);
    head = first_head + within, channel = 8 * t - within * n.D;
    lanes_of_head = n.together > 1 ? n.D / 8 : 4;
#pragma unroll
    for (int c = 0; c < chunks; ++c) exists[c] = head < n.H && channel + 32 * c < n.D;
  }
  /// Token r = 0, 1 of the lane, of a tile.
  __device__ index_t token(index_t i, int r) const { return i * tile + g + 8 * r; }
  /// The sum over the lanes of a head.
  __device__ float head_sum(float x) const {
    const float one = x + __shfl_xor_sync(0xffffffffu, x, 1);
    x = lanes_of_head > 1 ? one : x;
    const float two = x + __shfl_xor_sync(0xffffffffu, x, 2);
    return lanes_of_head > 2 ? two : x;
  }
  /// The chunk of x that this warp's part of the state has as rows.
  template <int Chunks>
  __device__ float of_part(const Values<Chunks>& x, int r, int i) const {
    if constexpr (Parts == 1) return x[r][0][i];
    else return part ? x[r][Chunks - 1][i] : x[r][0][i];
  }
};

/// Eight values as they are stored, in whole registers: pieces of them cost instructions.
template <class T>
struct Eight {
  static constexpr int words = 2 * int(sizeof(T));
  std::uint32_t word[words] = {};

  __device__ void load(const T* at) {
#pragma unroll
    for (int i = 0; i < words / 4; ++i) {
      const auto pack = reinterpret_cast<const Pack<std::uint32_t, 4>*>(at)[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) word[4 * i + j] = pack.v[j];
    }
  }
  __device__ void store(T* at) const {
#pragma unroll
    for (int i = 0; i < words / 4; ++i)
      reinterpret_cast<Pack<std::uint32_t, 4>*>(at)[i] = {
          {word[4 * i], word[4 * i + 1], word[4 * i + 2], word[4 * i + 3]}};
  }
  __device__ float value(int i) const {
    if constexpr (sizeof(T) == 4) return __uint_as_float(word[i]);
    else return i % 2 ? high_half(word[i / 2]) : low_half(word[i / 2]);
  }
  __device__ void set(const float (&x)[8]) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < 8; ++i) word[i] = __float_as_uint(x[i]);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) word[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
    }
  }
};

/// A lane's part of a tile as it is stored; zeros beyond the tokens and beside the head.
template <class T, int Chunks>
struct Stored {
  Eight<T> x[2][Chunks];

  __device__ void values(Values<Chunks>& y) const {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < Chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e) y[r][c][e] = x[r][c].value(e);
  }
};

/// Room for a warp's tile in shared memory, where it waits as it is stored and costs no registers. A lane
/// reads what it has copied itself, so that its own wait is enough.
template <class T, int Chunks>
struct Slot {
  static constexpr int packs = int(sizeof(T)) / 2;  ///< of 16 bytes, in eight values
  static constexpr int bytes = 2 * Chunks * packs * 32 * 16;
  unsigned first;  ///< address of the lane's first pack

  __device__ unsigned address(int r, int c, int pack) const {
    return first + unsigned(((r * Chunks + c) * packs + pack) * 32 * 16);
  }
  __device__ void read(Stored<T, Chunks>& to) const {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < Chunks; ++c)
#pragma unroll
        for (int p = 0; p < packs; ++p) {
          const float4 x = load4(address(r, c, p));
          std::uint32_t* word = to.x[r][c].word + 4 * p;
          word[0] = __float_as_uint(x.x), word[1] = __float_as_uint(x.y);
          word[2] = __float_as_uint(x.z), word[3] = __float_as_uint(x.w);
        }
  }
};

/// A lane's place in a tensor on its way from tile to tile.
template <class T>
class Cursor {
 public:
  template <class P>
  __device__ Cursor(const Heads<T>& x, const P& at) {
    if (!x.data) return;  // a gradient that nobody wants
    x_ = x.head(at.b, at.head) + at.channel + at.token(at.split, 0) * x.s.row;
    half_ = 8 * x.s.row, hop_ = at.splits * tile * x.s.row;
  }

  template <class P>
  __device__ void load(const P& at, index_t i, index_t tokens,
                       Stored<std::remove_const_t<T>, P::chunks>& to) const {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < P::chunks; ++c) {
        to.x[r][c] = {};
        if (at.token(i, r) < tokens && at.exists[c]) to.x[r][c].load(x_ + r * half_ + 32 * c);
      }
  }
  /// Begins to copy what load() would load.
  template <class P, class To>
  __device__ void copy(const P& at, index_t i, index_t tokens, const To& to) const {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < P::chunks; ++c)
#pragma unroll
        for (int p = 0; p < To::packs; ++p)
          copy_async<16>(to.address(r, c, p), x_ + r * half_ + 32 * c + p * (8 / To::packs),
                         at.token(i, r) < tokens && at.exists[c]);
  }
  /// Writes or adds chunk c of token r.
  __device__ void put(int r, int c, const float (&x)[8], bool accumulate) const {
    T* place = x_ + r * half_ + 32 * c;
    Eight<T> y;
    if (accumulate) {
      y.load(place);
      float sum[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) sum[e] = y.value(e) + x[e];
      y.set(sum);
    } else {
      y.set(x);
    }
    y.store(place);
  }
  __device__ void advance() { x_ += hop_; }

 private:
  T* x_ = nullptr;
  index_t half_ = 0, hop_ = 0;
};

/// Features of a lane's values in their place.
template <int Chunks>
__device__ void features(Feature map, Values<Chunks>& x) {
  causal::with_feature(map, [&]<Feature m>() {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < Chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e) x[r][c][e] = causal::feature<m>(x[r][c][e]);
  });
}

/// The same, and their slopes.
template <int Chunks>
__device__ void features(Feature map, Values<Chunks>& x, Values<Chunks>& slope) {
  causal::with_feature(map, [&]<Feature m>() {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < Chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          slope[r][c][e] = causal::feature_slope<m>(x[r][c][e]);
          x[r][c][e] = causal::feature<m>(x[r][c][e]);
        }
  });
}

/// Features f of length 1, f/(‖f‖ + 10⁻⁶) as unit_vectors() has it, and the way back.
struct Unit {
  float inverse[2], ratio[2];  ///< of tokens g and g + 8: 1/(‖f‖ + 10⁻⁶); (‖f‖ + 10⁻⁶)/‖f‖

  Unit() = default;
  template <class P>
  __device__ Unit(const P& at, Values<1>& f) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float square = 0;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        if (!at.exists[0]) f[r][0][e] = 0;  // features of the zeros beside the head may be others
        square += f[r][0][e] * f[r][0][e];
      }
      square = at.head_sum(square);
      const float norm = sqrtf(fmaxf(square, 1e-30f)), length = norm + 1e-6f;
      inverse[r] = 1 / length, ratio[r] = square > 1e-30f ? length / norm : 0;
#pragma unroll
      for (int e = 0; e < 8; ++e) f[r][0][e] *= inverse[r];
    }
  }
  /// From a gradient of the unit vectors u to one of f.
  template <class P>
  __device__ void back(const P& at, const Values<1>& u, Values<1>& grad) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float along = 0;
#pragma unroll
      for (int e = 0; e < 8; ++e) along += grad[r][0][e] * u[r][0][e];
      along = at.head_sum(along) * ratio[r];
#pragma unroll
      for (int e = 0; e < 8; ++e) grad[r][0][e] = (grad[r][0][e] - along * u[r][0][e]) * inverse[r];
    }
  }
};

/// The slopes alone, in place.
__device__ inline void slopes(Feature map, Values<1>& x) {
  causal::with_feature(map, [&]<Feature m>() {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int e = 0; e < 8; ++e) x[r][0][e] = causal::feature_slope<m>(x[r][0][e]);
  });
}

}  // namespace flr::cuda::linear_attention
