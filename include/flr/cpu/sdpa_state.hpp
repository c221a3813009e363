// The algebra of online softmax: a partial result (o, m, l) of some keys, and how two are merged.
//
//   o = Σ_j e^(s_j − m) v_j, m = max s_j, l = Σ_j e^(s_j − m);  (o₁,m₁,l₁) ⊕ (o₂,m₂,l₂) =
//   (o₁ e^(m₁−m) + o₂ e^(m₂−m), m, l₁ e^(m₁−m) + l₂ e^(m₂−m)), m = max(m₁, m₂).
// A state that has seen no key is (0, −∞, 0); that it leaves the other unchanged, and never makes a
// NaN of −∞ − (−∞), is decided here and nowhere else.
#pragma once

#include "flr/cpu/sdpa_tile.hpp"

FLR_CPU_BEGIN
namespace sdpa_cpu {

/// The exponent that turns sums relative to `from` into sums relative to `to` ≥ from.
template <class T>
FLR_ALWAYS_INLINE simd::Vec<T> rescale(simd::Vec<T> from, simd::Vec<T> to) {
  const simd::Vec<T> none = simd::splat(-std::numeric_limits<T>::infinity());
  return simd::exp_nonpositive<T>(simd::select<T>(from == none, none, from - to));
}

/// What is subtracted from scores whose largest is m: m itself, or 0 where nothing was seen.
template <class T>
FLR_ALWAYS_INLINE simd::Vec<T> finite_max(simd::Vec<T> m) {
  return simd::select<T>(m == simd::splat(-std::numeric_limits<T>::infinity()), simd::Vec<T>{}, m);
}

/// States of one tile of queries: o [Dv][tile], m [tile], l [tile], one after the other.
template <class T>
struct TileState {
  T* o;
  T* m;
  T* l;
  static constexpr index_t size(index_t Dv) { return (Dv + 2) * tile<T>; }
  TileState(T* memory, index_t Dv) : o(memory), m(memory + Dv * tile<T>), l(m + tile<T>) {}

  void clear(index_t Dv) {
    for (index_t i = 0; i < Dv * tile<T>; ++i) o[i] = 0;
    for (index_t i = 0; i < tile<T>; ++i) m[i] = -std::numeric_limits<T>::infinity(), l[i] = 0;
  }

  /// Adds n keys whose scores are in s (overwritten by their weights).
  void add(T* s, const T* v, index_t ld, index_t n, index_t Dv) {
    using V = simd::Vec<T>;
    constexpr int L = simd::lanes<T>;
    alignas(64) T scale[tile<T>];
    for (int w = 0; w < tile_vectors; ++w) {
      T* column = s + w * L;
      const V before = simd::load(m + w * L);
      V top = before;
      for (index_t j = 0; j < n; ++j) top = simd::vmax<T>(simd::load(column + j * tile<T>), top);
      const V shift = finite_max<T>(top), factor = rescale<T>(before, top);
      V total{};
      for (index_t j = 0; j < n; ++j) {
        const V p = simd::exp_nonpositive<T>(simd::load(column + j * tile<T>) - shift);
        simd::store(column + j * tile<T>, p);
        total += p;
      }
      simd::store(l + w * L, simd::fma(simd::load(l + w * L), factor, total));
      simd::store(m + w * L, top);
      simd::store(scale + w * L, factor);
    }
    weighted_sum(s, v, ld, n, Dv, scale, o);
  }

  void merge(const TileState& other, index_t Dv) {
    using V = simd::Vec<T>;
    constexpr int L = simd::lanes<T>;
    for (int w = 0; w < tile_vectors; ++w) {
      const V a = simd::load(m + w * L), b = simd::load(other.m + w * L), top = simd::vmax<T>(a, b);
      const V fa = rescale<T>(a, top), fb = rescale<T>(b, top);
      for (index_t d = 0; d < Dv; ++d) {
        const index_t at = d * tile<T> + w * L;
        simd::store(o + at, simd::load(o + at) * fa + simd::load(other.o + at) * fb);
      }
      simd::store(l + w * L, simd::load(l + w * L) * fa + simd::load(other.l + w * L) * fb);
      simd::store(m + w * L, top);
    }
  }

  /// Writes o/l and the log-sum-exp m + log l of the first `rows` queries.
  void finish(index_t rows, index_t Dv, T* out, index_t out_row, T* lse) const {
    for (index_t i = 0; i < rows; ++i) {
      const T inverse = l[i] > 0 ? 1 / l[i] : T(0);
      for (index_t d = 0; d < Dv; ++d) out[i * out_row + d] = o[d * tile<T> + i] * inverse;
      if (lse) lse[i] = l[i] > 0 ? m[i] + std::log(l[i]) : -std::numeric_limits<T>::infinity();
    }
  }
};

}  // namespace sdpa_cpu
FLR_CPU_END
