// A range of queries against a range of keys of one head, backward.
#pragma once

#include "flr/cpu/attention_gradient.hpp"
#include "flr/cpu/attention_key_block.hpp"

FLR_CPU_BEGIN
namespace attention {

/// Keys that a task holds at a time: they, their values and both gradients stay in the second-level
/// cache.
template <class T>
index_t keys_at_once(const SdpaParams<T>& p) {
  const index_t keys = 262144 / static_cast<index_t>(sizeof(T)) / (2 * (p.D + p.Dv) + 1);
  return std::clamp(keys / tile_lanes<T>, index_t{1}, index_t{10}) * tile_lanes<T>;
}

/// dq, dk and dv of one block of keys; rows of a null gradient are not wanted.
template <class T>
class BackwardTask {
 public:
  BackwardTask(const SdpaBackwardParams<T>& p, const QueryStatistics<T>& statistics, index_t keys)
      : p_(p.f),
        queries_(p, statistics),
        block_(p, keys),
        dk_(round_up(keys, tile_lanes<T>) * p.f.D),
        dv_(round_up(keys, tile_lanes<T>) * p.f.Dv),
        dq_(round_up(tile_rows * p.f.D, lanes<T>) * lanes<T>),
        weight_(tile_rows * tile_lanes<T>),
        slope_(tile_rows * tile_lanes<T>),
        rows_(std::max(tile_lanes<T> * std::max(p.f.D, p.f.Dv),
                       round_up(tile_rows * p.f.D, lanes<T>))) {}

  /// Queries [i, end) against keys [j, j + n); rows of dq begin at i, those of dk and dv at j.
  void run(index_t b, index_t h, index_t i, index_t end, index_t j, index_t n,
           const GradientRows<T>& dq, const GradientRows<T>& dk, const GradientRows<T>& dv) {
    block_.load_keys(b, h, j, n);
    std::fill_n(dk_.data(), dk.data ? round_up(n, tile_lanes<T>) * p_.D : 0, T(0));
    std::fill_n(dv_.data(), dv.data ? round_up(n, tile_lanes<T>) * p_.Dv : 0, T(0));
    for (index_t r = i; r < end; r += tile_rows) {
      queries_.load_rows(b, h, r, std::min(tile_rows, end - r));
      rows(dq.data ? dq.from(r - i) : dq, dk.data, dv.data);
    }
    write(dk, dk_.data(), p_.D, n, p_.scale);
    write(dv, dv_.data(), p_.Dv, n, T(1));
  }

 private:
  /// The queries just loaded against all keys of the block.
  void rows(const GradientRows<T>& dq, bool want_k, bool want_v) {
    const index_t n = queries_.count;
    T *const weight = weight_.data(), *const slope = dq.data || want_k ? slope_.data() : nullptr;
    const index_t sums = n * p_.D;
    if (dq.data) std::fill_n(dq_.data(), round_up(sums, lanes<T>) * lanes<T>, T(0));
    for (index_t t = 0; t < block_.count() && !block_.beyond(t, queries_); t += tile_lanes<T>) {
      block_.tile(queries_, t, weight, slope);
      const index_t vectors = block_.vectors(t);
      for_groups(vectors, [&](index_t vector, auto size) {
        constexpr int P = decltype(size)::value;
        const index_t lane = vector * lanes<T>;
        if (want_v)
          accumulate<P>(weight + lane, tile_lanes<T>, n, queries_.dy, p_.Dv, p_.Dv,
                        dv_.data() + t * p_.Dv + lane, tile_lanes<T>);
        if (want_k)
          accumulate<P>(slope + lane, tile_lanes<T>, n, queries_.q, p_.D, p_.D,
                        dk_.data() + t * p_.D + lane, tile_lanes<T>);
      });
      if (dq.data)
        contract(slope, tile_lanes<T>, n, vectors, block_.keys(t), tile_lanes<T>, p_.D, dq_.data());
    }
    if (!dq.data) return;
    for (index_t x = 0; x < sums; x += lanes<T>)
      store(rows_.data() + x, simd::sum_each(dq_.data() + x * lanes<T>));
    // The keys of the block carry scale · log₂e; dq wants the scale only.
    for (index_t r = 0; r < n; ++r) dq.put(r, rows_.data() + r * p_.D, p_.D, ln_2<T>);
  }

  void write(const GradientRows<T>& to, const T* sums, index_t width, index_t n, T factor) {
    if (!to.data) return;
    for (index_t t = 0; t < n; t += tile_lanes<T>) {
      const index_t count = std::min(tile_lanes<T>, n - t);
      simd::transpose(sums + t * width, tile_lanes<T>, width, count, rows_.data(), width);
      for (index_t r = 0; r < count; ++r) to.put(t + r, rows_.data() + r * width, width, factor);
    }
  }

  const SdpaParams<T>& p_;
  QueryRows<T> queries_;
  KeyBlock<T> block_;
  detail::Scratch<T> dk_, dv_;         ///< by tiles, [channel][tile_lanes]
  detail::Scratch<T> dq_;              ///< [row][channel], a vector each
  detail::Scratch<T> weight_, slope_;  ///< tiles of P and dS
  detail::Scratch<T> rows_;
};

}  // namespace attention
FLR_CPU_END
