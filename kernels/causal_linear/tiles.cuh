// A block's place among heads and segments, and its tiles on their way from memory.
#pragma once

#include "causal_linear/feature.cuh"
#include "causal_linear/products.cuh"

namespace flr::cuda::causal {

struct Place {
  index_t item, b, h, row;  ///< row: of the head's first token in [B,H,N]
  index_t first, end;       ///< tokens of the segment

  template <class T>
  __device__ explicit Place(const Problem<T>& p) {
    item = blockIdx.x;
    const index_t head = item / p.segments, length = p.segment_tiles * tile;
    b = head / p.H, h = head % p.H, row = head * p.N;
    first = item % p.segments * length;
    end = first + length < p.N ? first + length : p.N;
  }
  template <class T>
  __device__ T* of(const Heads<T>& x) const {
    return x.data + b * x.s.batch + h * x.s.head;
  }
};

template <int Width, int Rows, int P, class T, class F, class Beyond>
__device__ void load_packs(T* to, const T* x, index_t stride, index_t first, index_t end,
                           int columns, F f, Beyond beyond) {
  constexpr int per_row = Width / P;
  for (int i = threadIdx.x; i < Rows * per_row; i += threads) {
    const int row = i / per_row, column = i % per_row * P;
    Pack<T, P> values = {};
    if (first + row < end) {
      if (column < columns)
        values = *reinterpret_cast<const Pack<T, P>*>(x + (first + row) * stride + column);
#pragma unroll
      for (int e = 0; e < P; ++e) {
        T& v = values.v[e];
        if (column + e < columns)
          v = from_compute<T>(f(to_compute(v), first + row));
        else if (column + e < columns + 2)
          v = from_compute<T>(beyond(first + row, column + e - columns));
      }
    }
    *reinterpret_cast<Pack<T, P>*>(to + row * pitch<T>(Width) + column) = values;
  }
}

/// `Rows` rows of x from `first` on as a tile, with f(value, token) of each value, beyond(token, 0
/// and 1) in the first two columns that x does not have and the tile has, and zeros elsewhere.
/// `packed`: rows can be read 16 bytes at once.
template <int Width, int Rows = tile, class T, class F, class Beyond>
__device__ void load_tile(T* to, const T* x, index_t stride, index_t first, index_t end,
                          int columns, bool packed, F f, Beyond beyond) {
  if (packed)
    load_packs<Width, Rows, 16 / int(sizeof(T))>(to, x, stride, first, end, columns, f, beyond);
  else
    load_packs<Width, Rows, 1>(to, x, stride, first, end, columns, f, beyond);
}

/// 1 or 0: whether a key takes part.
template <class T>
__device__ float kept(const Problem<T>& p, const Place& at, index_t token) {
  return !p.keep || p.keep[at.b * p.keep_batch + token] ? 1.0f : 0.0f;
}

template <int W, class T>
__device__ void load_queries(T* to, const Problem<T>& p, const Place& at, index_t first) {
  with_feature(p.feature, [&]<Feature map>() {
    load_tile<W>(
        to, at.of(p.q), p.q.s.row, first, at.end, p.E, p.q_packed,
        [](float x, index_t) { return feature<map>(x); }, [](index_t, int) { return 0.0f; });
  });
}
template <int W, class T>
__device__ void load_keys(T* to, const Problem<T>& p, const Place& at, index_t first) {
  with_feature(p.feature, [&]<Feature map>() {
    load_tile<W>(
        to, at.of(p.k), p.k.s.row, first, at.end, p.E, p.k_packed,
        [&](float x, index_t token) { return kept(p, at, token) > 0 ? feature<map>(x) : 0.0f; },
        [](index_t, int) { return 0.0f; });
  });
}
/// v' of W + 8 columns, two of them ones: the second is for the second part of g's.
template <int W, class T>
__device__ void load_values(T* to, const Problem<T>& p, const Place& at, index_t first) {
  load_tile<values_width(W)>(
      to, at.of(p.v), p.v.s.row, first, at.end, p.D, p.v_packed, [](float x, index_t) { return x; },
      [&](index_t, int) { return p.normalize ? 1.0f : 0.0f; });
}
/// g of W + 8 columns. What goes to the weights is the same for all keys, so that its rounding
/// would add up over them: it comes in two parts, the second what the first lost to rounding.
template <int W, class T>
__device__ void load_gradients(T* to, const Problem<T>& p, const Place& at, index_t first) {
  load_tile<values_width(W)>(
      to, at.of(p.dy), p.dy.s.row, first, at.end, p.D, p.dy_packed,
      [&](float x, index_t token) { return x * (p.inverse ? p.inverse[at.row + token] : p.scale); },
      [&](index_t token, int part) {
        const float rest = p.rest ? p.rest[at.row + token] : 0.0f;
        return part == 0 ? rest : rest - to_compute(from_compute<T>(rest));
      });
}

/// A segment's state in global memory.
template <class T, int M, int N>
__device__ void load_state(Sums<T, M, N>& s, const float* states, const Place& at) {
  if (!states) return;
  const float* from = states + at.item * M * N;
  s.each([&](int m, int n, float& v) { v = from[m * N + n]; });
}

/// Shared memory of `tokens` tiles of W columns, `values` of W + 8, a square one and a state.
template <class T>
constexpr int shared_bytes(int W, int tokens, int values, bool square_and_state) {
  const int widths = tile * (tokens * pitch<T>(W) + values * pitch<T>(values_width(W)));
  const int rest = square_and_state ? tile * pitch<T>(tile) + W * pitch<T>(values_width(W)) : 0;
  return (widths + rest) * int(sizeof(T));
}

}  // namespace flr::cuda::causal
