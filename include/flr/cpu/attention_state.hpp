// The algebra of online softmax. A state stands for a set of scores: the largest of them and the
// sum of 2^(score − largest). States of disjoint sets merge; the empty set has maximum −∞ and sum
// 0, and the rule that makes it neutral without a NaN is in reference() and nowhere else.
#pragma once

#include "flr/cpu/attention_vector.hpp"

FLR_CPU_BEGIN
namespace attention {

/// What scores with this maximum are measured from: the maximum, or 0 for the empty set, so that
/// 2^(−∞ − reference) is 0.
template <class T>
FLR_ALWAYS_INLINE Vec<T> reference(Vec<T> maximum) {
  return select<T>(maximum == splat(-infinity<T>), Vec<T>{}, maximum);
}

/// A state for each lane of a vector. Scores are in units of log 2.
template <class T>
struct SoftmaxState {
  Vec<T> maximum = splat(-infinity<T>);
  Vec<T> sum{};

  /// Admits scores up to `candidate`; returns the factor for everything weighted until now.
  FLR_ALWAYS_INLINE Vec<T> raise(Vec<T> candidate) {
    const Vec<T> raised = vmax<T>(candidate, maximum);
    const Vec<T> factor = exp2_weight<T>(maximum - reference<T>(raised));
    maximum = raised;
    sum *= factor;
    return factor;
  }
  /// What the weighted sum is multiplied by in the end: 1/sum, or 0 if there was no key.
  FLR_ALWAYS_INLINE Vec<T> normaliser() const {
    return select<T>(sum == Vec<T>{}, Vec<T>{}, T(1) / sum);
  }
  /// Natural log-sum-exp; −∞ if there was no key.
  FLR_ALWAYS_INLINE Vec<T> log_sum_exp() const {
    return select<T>(sum == Vec<T>{}, splat(-infinity<T>),
                     fma(reference<T>(maximum), splat(ln_2<T>), simd::log<T>(sum)));
  }
};

/// The factors by which the weighted sums of two states enter their union.
template <class T>
struct MergeFactors {
  Vec<T> first, second;
};
/// a becomes the state of the union of a and b.
template <class T>
FLR_ALWAYS_INLINE MergeFactors<T> merge(SoftmaxState<T>& a, SoftmaxState<T> b) {
  const Vec<T> first = a.raise(b.maximum), second = b.raise(a.maximum);
  a.sum += b.sum;
  return {first, second};
}

}  // namespace attention
FLR_CPU_END
