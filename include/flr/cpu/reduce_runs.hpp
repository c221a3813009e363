// The inner loops of reductions: short sums in several accumulators of the compute type, which the
// vectoriser keeps in registers, joined in double. So a float sum loses no more than a few units in
// the last place of its largest partial sum, however long it is.
#pragma once

#include "flr/cpu/layout.hpp"
#include "flr/cpu/simd_storage.hpp"

FLR_CPU_BEGIN

struct SumOp {
  template <class C>
  static constexpr C identity = 0;
  static constexpr bool scales = true;
  template <class C>
  static FLR_ALWAYS_INLINE C join(C a, C b) {
    return a + b;
  }
  template <class C>
  static FLR_ALWAYS_INLINE simd::Vec<C> join(simd::Vec<C> a, simd::Vec<C> b) {
    return a + b;
  }
};

struct MaxOp {
  template <class C>
  static constexpr C identity = -static_cast<C>(__builtin_inf());
  static constexpr bool scales = false;
  /// NaN once there was one.
  template <class C>
  static FLR_ALWAYS_INLINE C join(C a, C b) {
    return a > b || a != a ? a : b;
  }
  template <class C>
  static FLR_ALWAYS_INLINE simd::Vec<C> join(simd::Vec<C> a, simd::Vec<C> b) {
    return simd::select<C>((a > b) | (a != a), a, b);
  }
};

/// Elements of a run after which its accumulators are joined in double.
inline constexpr index_t run_block = 512;

/// The reduction of at most run_block neighbours, four vectors at a time.
template <class Op, class T>
inline compute_t<T> reduce_block(const T* x, index_t n) {
  using C = compute_t<T>;
  using V = simd::Vec<C>;
  constexpr index_t L = simd::lanes<C>;
  V sum[4];
  for (V& s : sum) s = simd::splat(Op::template identity<C>);
  index_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L)
    for (int s = 0; s < 4; ++s)
      sum[s] = Op::template join<C>(sum[s], simd::load_any(x + i + s * L, L));
  for (int s = 0; i + L <= n; i += L, ++s)
    sum[s] = Op::template join<C>(sum[s], simd::load_any(x + i, L));
  sum[0] = Op::template join<C>(Op::template join<C>(sum[0], sum[1]),
                                Op::template join<C>(sum[2], sum[3]));
  C lane[L];
  simd::store(lane, sum[0]);
  for (index_t l = 0; i < n; ++i, ++l) lane[l] = Op::join(lane[l], static_cast<C>(x[i]));
  for (index_t half = L / 2; half > 0; half /= 2)
    for (index_t l = 0; l < half; ++l) lane[l] = Op::join(lane[l], lane[l + half]);
  return lane[0];
}

/// The reduction of n elements with a stride.
template <class Op, class T>
inline double reduce_run(const T* x, index_t stride, index_t n) {
  using C = compute_t<T>;
  if (n < simd::lanes<C>) {
    C total = Op::template identity<C>;
    for (index_t i = 0; i < n; ++i) total = Op::join(total, static_cast<C>(x[i * stride]));
    return static_cast<double>(total);
  }
  double total = Op::template identity<double>;
  for (index_t begin = 0; begin < n; begin += run_block) {
    const index_t count = smaller(run_block, n - begin);
    const T* b = x + begin * stride;
    if (stride != 1) {
      C packed[run_block];
      for (index_t i = 0; i < count; ++i) packed[i] = static_cast<C>(b[i * stride]);
      total = Op::join(total, static_cast<double>(reduce_block<Op>(packed, count)));
    } else {
      total = Op::join(total, static_cast<double>(reduce_block<Op>(b, count)));
    }
  }
  return total;
}

/// Rows that are added up in the compute type before they join a total in double.
inline constexpr index_t rows_block = 16;

/// total[c] ← join over n rows of x[r·stride + c], c < count ≤ 256.
template <class Op, class T>
inline void reduce_rows_run(const T* x, index_t stride, index_t n, index_t count, double* total) {
  using C = compute_t<T>;
  C sum[256];
  // Several narrow rows that follow each other are one wide row, folded at the end.
  const index_t fold = stride == count && count <= 32 ? 128 / count : 1;
  const index_t width = fold * count, wide_rows = n / fold;
  for (index_t begin = 0; begin < wide_rows; begin += rows_block) {
    const index_t end = smaller(begin + rows_block, wide_rows);
    for (index_t c = 0; c < width; ++c) sum[c] = Op::template identity<C>;
    for (index_t r = begin; r < end; ++r) {
      const T* row = x + r * fold * stride;
      for (index_t c = 0; c < width; ++c) sum[c] = Op::join(sum[c], static_cast<C>(row[c]));
    }
    for (index_t f = 0; f < fold; ++f)
      for (index_t c = 0; c < count; ++c)
        total[c] = Op::join(total[c], static_cast<double>(sum[f * count + c]));
  }
  for (index_t r = wide_rows * fold; r < n; ++r)
    for (index_t c = 0; c < count; ++c)
      total[c] = Op::join(total[c], static_cast<double>(static_cast<C>(x[r * stride + c])));
}

FLR_CPU_END
