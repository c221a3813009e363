// The tile that all CPU attention is made of: a few lanes of queries against a block of keys.
//
// Lanes are queries: the scores of one key are a vector over queries, so maxima, sums and the
// rescaling of an online softmax need no reduction across lanes, and a key's row is read as it lies,
// one broadcast per element. Queries are packed transposed, [D][tile]; keys and values as rows.
#pragma once

#include "flr/cpu/vector_math.hpp"

FLR_CPU_BEGIN
namespace sdpa_cpu {

/// Vectors, and queries, of a tile; keys of a block.
inline constexpr int tile_vectors = 2;
template <class T>
inline constexpr index_t tile = tile_vectors * simd::lanes<T>;
inline constexpr index_t key_block = 64;
/// Queries that share one packing of a key block: a multiple of every tile.
inline constexpr index_t query_block = 256;

template <class T>
constexpr index_t padded(index_t width) {
  return (width + simd::lanes<T> - 1) / simd::lanes<T> * simd::lanes<T>;
}

/// s[j][tile] = Σ_d k[j][d] q[d][tile] for n keys with rows `ld` apart. Four keys at a time: the
/// eight chains hide the latency of the multiply-add.
template <class T>
inline void scores(const T* q, const T* k, index_t ld, index_t n, index_t D, T* s) {
  using V = simd::Vec<T>;
  constexpr int L = simd::lanes<T>;
  index_t j = 0;
  for (; j + 4 <= n; j += 4) {
    V a[4][tile_vectors] = {};
    for (index_t d = 0; d < D; ++d) {
      const V q0 = simd::load(q + d * tile<T>), q1 = simd::load(q + d * tile<T> + L);
      for (int u = 0; u < 4; ++u) {
        const V b = simd::splat(k[(j + u) * ld + d]);
        a[u][0] = simd::fma(b, q0, a[u][0]);
        a[u][1] = simd::fma(b, q1, a[u][1]);
      }
    }
    for (int u = 0; u < 4; ++u)
      for (int v = 0; v < tile_vectors; ++v) simd::store(s + (j + u) * tile<T> + v * L, a[u][v]);
  }
  for (; j < n; ++j)
    for (int v = 0; v < tile_vectors; ++v) {
      V a{};
      for (index_t d = 0; d < D; ++d)
        a = simd::fma(simd::splat(k[j * ld + d]), simd::load(q + d * tile<T> + v * L), a);
      simd::store(s + j * tile<T> + v * L, a);
    }
}

/// o[d][tile] = o[d][tile] · scale[tile] + Σ_j p[j][tile] v[j][d]; four columns at a time.
template <class T>
inline void weighted_sum(const T* p, const T* v, index_t ld, index_t n, index_t D, const T* scale,
                         T* o) {
  using V = simd::Vec<T>;
  constexpr int L = simd::lanes<T>;
  const V s0 = scale ? simd::load(scale) : simd::splat(T(1));
  const V s1 = scale ? simd::load(scale + L) : simd::splat(T(1));
  index_t d = 0;
  for (; d + 4 <= D; d += 4) {
    V a[4][tile_vectors];
    for (int u = 0; u < 4; ++u) {
      a[u][0] = simd::load(o + (d + u) * tile<T>) * s0;
      a[u][1] = simd::load(o + (d + u) * tile<T> + L) * s1;
    }
    for (index_t j = 0; j < n; ++j) {
      const V p0 = simd::load(p + j * tile<T>), p1 = simd::load(p + j * tile<T> + L);
      for (int u = 0; u < 4; ++u) {
        const V b = simd::splat(v[j * ld + d + u]);
        a[u][0] = simd::fma(b, p0, a[u][0]);
        a[u][1] = simd::fma(b, p1, a[u][1]);
      }
    }
    for (int u = 0; u < 4; ++u)
      for (int w = 0; w < tile_vectors; ++w) simd::store(o + (d + u) * tile<T> + w * L, a[u][w]);
  }
  for (; d < D; ++d) {
    V a0 = simd::load(o + d * tile<T>) * s0, a1 = simd::load(o + d * tile<T> + L) * s1;
    for (index_t j = 0; j < n; ++j) {
      const V b = simd::splat(v[j * ld + d]);
      a0 = simd::fma(b, simd::load(p + j * tile<T>), a0);
      a1 = simd::fma(b, simd::load(p + j * tile<T> + L), a1);
    }
    simd::store(o + d * tile<T>, a0);
    simd::store(o + d * tile<T> + L, a1);
  }
}

/// g[j][·] += Σ over the tile's queries p[j][i] x[i][·], for rows of `width` values (a multiple of
/// the lanes): what a tile adds to the gradients of its keys.
template <class T>
inline void outer_sum(const T* p, const T* x, index_t width, index_t n, T* g) {
  using V = simd::Vec<T>;
  constexpr int L = simd::lanes<T>;
  for (index_t c = 0; c < width; c += L) {
    index_t j = 0;
    for (; j + 8 <= n; j += 8) {
      V a[8];
      for (int u = 0; u < 8; ++u) a[u] = simd::load(g + (j + u) * width + c);
      for (index_t i = 0; i < tile<T>; ++i) {
        const V row = simd::load(x + i * width + c);
        for (int u = 0; u < 8; ++u) a[u] = simd::fma(simd::splat(p[(j + u) * tile<T> + i]), row, a[u]);
      }
      for (int u = 0; u < 8; ++u) simd::store(g + (j + u) * width + c, a[u]);
    }
    for (; j < n; ++j) {
      V a = simd::load(g + j * width + c);
      for (index_t i = 0; i < tile<T>; ++i)
        a = simd::fma(simd::splat(p[j * tile<T> + i]), simd::load(x + i * width + c), a);
      simd::store(g + j * width + c, a);
    }
  }
}

/// What hides or shifts scores, for one batch and head.
template <class T>
struct ScoreRules {
  const std::uint8_t* keep = nullptr;
  const T* bias = nullptr;
  index_t bias_row = 0, bias_col = 0;
  bool causal = false;
  index_t causal_shift = 0;  ///< key j is visible to query i when j ≤ i + shift

  explicit ScoreRules(const SdpaParams<T>& p, index_t b, index_t h)
      : keep(p.keep ? p.keep + b * p.keep_batch : nullptr),
        bias(p.bias ? p.bias + b * p.bias_s.batch + h * p.bias_s.head : nullptr),
        bias_row(p.bias_s.row), bias_col(p.bias_col), causal(p.causal),
        causal_shift(p.Nk - p.Nq) {}

  /// Whether no key from `key` on is visible to queries below `query_end`.
  bool beyond(index_t key, index_t query_end) const {
    return causal && key > query_end - 1 + causal_shift;
  }

  /// Applies the rules to the scores of keys [key, key + n) for the tile of queries from `query`,
  /// `rows` of which exist.
  void apply(index_t key, index_t n, index_t query, index_t rows, T* s) const {
    constexpr T hidden = -std::numeric_limits<T>::infinity();
    if (bias)
      for (index_t j = 0; j < n; ++j)
        for (index_t i = 0; i < rows; ++i)
          s[j * tile<T> + i] += bias[(query + i) * bias_row + (key + j) * bias_col];
    if (keep)
      for (index_t j = 0; j < n; ++j)
        if (!keep[key + j])
          for (index_t i = 0; i < tile<T>; ++i) s[j * tile<T> + i] = hidden;
    if (causal && key + n - 1 > query + causal_shift)
      for (index_t j = 0; j < n; ++j)
        for (index_t i = 0; i < tile<T>; ++i)
          if (key + j > query + i + causal_shift) s[j * tile<T> + i] = hidden;
  }
};

/// Rows [begin, begin + n) of a strided matrix, one after the other.
template <class T>
inline void pack_rows(const T* x, index_t row, index_t begin, index_t n, index_t width, index_t ld,
                      T* to) {
  for (index_t i = 0; i < n; ++i) {
    const T* from = x + (begin + i) * row;
    for (index_t d = 0; d < width; ++d) to[i * ld + d] = from[d];
    for (index_t d = width; d < ld; ++d) to[i * ld + d] = 0;
  }
}

/// The same transposed by tiles, times `factor`: to[tile][d][lane]; lanes beyond n are 0.
template <class T>
inline void pack_tiles(const T* x, index_t row, index_t begin, index_t n, index_t width, T factor,
                       T* to) {
  for (index_t t = 0; t < n; t += tile<T>)
    for (index_t d = 0; d < width; ++d)
      for (index_t i = 0; i < tile<T>; ++i)
        to[(t * width) + d * tile<T> + i] =
            t + i < n ? x[(begin + t + i) * row + d] * factor : T(0);
}

}  // namespace sdpa_cpu
FLR_CPU_END
