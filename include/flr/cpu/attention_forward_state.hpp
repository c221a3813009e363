// The running result of a block of queries: what has been seen, and the weighted sum of values.
#pragma once

#include "flr/cpu/attention_problem.hpp"
#include "flr/cpu/attention_tile.hpp"
#include "flr/cpu/transpose.hpp"

FLR_CPU_BEGIN
namespace attention {

/// A view of memory of the caller's: maximum [lane], sum [lane], and for each group of vectors
/// (for_groups) o [Dv][lane of the group].
template <class T>
struct ForwardState {
  T *maximum, *sum, *o;
  index_t count;  ///< lanes, a multiple of the vector
  index_t depth;  ///< Dv

  static index_t size(index_t depth, index_t count) { return (depth + 2) * count; }
  ForwardState(T* memory, index_t depth_, index_t count_)
      : maximum(memory),
        sum(memory + count_),
        o(memory + 2 * count_),
        count(count_),
        depth(depth_) {}

  SoftmaxState<T> get(index_t lane) const { return {load(maximum + lane), load(sum + lane)}; }
  void set(index_t lane, const SoftmaxState<T>& s) const {
    store(maximum + lane, s.maximum);
    store(sum + lane, s.sum);
  }
  /// o of the group that begins at `lane`.
  T* group(index_t lane) const { return o + lane * depth; }

  void clear() const {
    for (index_t lane = 0; lane < count; lane += lanes<T>) set(lane, {});
    std::fill_n(o, depth * count, T(0));
  }

  /// Takes in the keys that another state has seen.
  void merge_from(const ForwardState& other) const {
    for_groups(count / lanes<T>, [&](index_t vector, auto size) {
      constexpr int P = decltype(size)::value;
      const index_t lane = vector * lanes<T>;
      for (int p = 0; p < P; ++p) {
        SoftmaxState<T> state = get(lane + p * lanes<T>);
        const MergeFactors<T> factor = merge(state, other.get(lane + p * lanes<T>));
        set(lane + p * lanes<T>, state);
        for (index_t d = 0; d < depth; ++d) {
          const index_t at = (d * P + p) * lanes<T>;
          store(group(lane) + at, load(group(lane) + at) * factor.first +
                                      load(other.group(lane) + at) * factor.second);
        }
      }
    });
  }

  /// Writes the first n lanes as the queries from i on of head (b, h).
  void finish(const SdpaParams<T>& p, index_t b, index_t h, index_t i, index_t n) const {
    T* const y = head(p.o, p.os, b, h) + i * p.os.row;
    for_groups(count / lanes<T>, [&](index_t vector, auto size) {
      constexpr int P = decltype(size)::value;
      const index_t lane = vector * lanes<T>;
      T* const x = group(lane);
      for (int q = 0; q < P; ++q) {
        const SoftmaxState<T> state = get(lane + q * lanes<T>);
        const Vec<T> factor = state.normaliser();
        for (index_t d = 0; d < depth; ++d) {
          T* const at = x + (d * P + q) * lanes<T>;
          store(at, load(at) * factor);
        }
        store(sum + lane + q * lanes<T>, state.log_sum_exp());
      }
      const index_t rows = std::min<index_t>(P * lanes<T>, n - lane);
      simd::transpose(x, P * lanes<T>, depth, rows, y + lane * p.os.row, p.os.row);
    });
    if (p.lse) std::copy_n(sum, n, p.lse + (b * p.H + h) * p.Nq + i);
  }
};

}  // namespace attention
FLR_CPU_END
