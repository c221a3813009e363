// Which tokens and channels a lane holds, and how they come and go.
//
// Lane 4g + t holds tokens g and g + 8 of its warp's 16, and of each 32 channels the eight from 8t
// on: 16 bytes of bf16, and four lanes a run of 64. Block j of the fragments (mma.cuh), columns 2t and
// 2t + 1, are channels 32(j/4) + 8t + 2(j%4) and the next; the order of channels in a product is free.
#pragma once

#include "causal_linear/feature.cuh"
#include "common/device.cuh"
#include "linear_attention/problem.hpp"

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
    const int within = n.together > 1 ? 8 * t / n.D : 0;
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

/// Eight values as they are stored.
template <class T>
struct Eight {
  static constexpr int width = 16 / int(sizeof(T));
  Pack<T, width> pack[8 / width];

  __device__ void load(const T* at) {
#pragma unroll
    for (int i = 0; i < 8 / width; ++i)
      pack[i] = reinterpret_cast<const Pack<T, width>*>(at)[i];
  }
  __device__ void store(T* at) const {
#pragma unroll
    for (int i = 0; i < 8 / width; ++i) reinterpret_cast<Pack<T, width>*>(at)[i] = pack[i];
  }
  __device__ float value(int i) const { return to_compute(pack[i / width].v[i % width]); }
  __device__ void set(int i, float x) { pack[i / width].v[i % width] = from_compute<T>(x); }
};

/// A lane's part of a tile as it is stored; zeros beyond the tokens and beside the head.
template <class T, int Chunks>
struct Stored {
  Eight<T> x[2][Chunks];

  template <class P>
  __device__ void load(const Heads<const T>& from, const P& at, index_t i, index_t tokens) {
    const T* base = from.head(at.b, at.head) + at.channel;
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < Chunks; ++c) {
        const index_t token = at.token(i, r);
        x[r][c] = Eight<T>{};
        if (token < tokens && at.exists[c]) x[r][c].load(base + token * from.s.row + 32 * c);
      }
  }
  __device__ void values(Values<Chunks>& y) const {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < Chunks; ++c)
#pragma unroll
        for (int e = 0; e < 8; ++e) y[r][c][e] = x[r][c].value(e);
  }
};

/// Writes or adds chunk c of a lane's token.
template <class T, class P>
__device__ void put_chunk(const Heads<T>& to, const P& at, index_t token, int c, const float (&x)[8],
                          bool accumulate) {
  T* place = to.head(at.b, at.head) + at.channel + token * to.s.row + 32 * c;
  Eight<T> y;
  if (accumulate) y.load(place);
#pragma unroll
  for (int e = 0; e < 8; ++e) y.set(e, accumulate ? y.value(e) + x[e] : x[e]);
  y.store(place);
}

/// Features of eight values: one branch for all of them.
__device__ inline void features(Feature map, float (&x)[8]) {
#pragma unroll
  for (int e = 0; e < 8; ++e) x[e] = causal::feature(map, x[e]);
}

}  // namespace flr::cuda::linear_attention
