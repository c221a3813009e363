// The parts of the general attention path, one file each. They hold for every call whose head
// dimensions are at most `max_depth`.
#pragma once

#include "common/device.cuh"

namespace flr::cuda::attention {

inline constexpr index_t max_depth = 128;

/// Into how many parts the long axes of a call were cut.
struct Splits {
  index_t keys = 1, queries = 1;
};

/// Log-sum-exp in units of log 2 (0 where a query saw no key: its scores are all −∞) and
/// δ = rowsum(dy ∘ y), which backward needs of each query.
template <class T>
using QueryStatistics = Pack<compute_t<T>, 2>;

/// Forward; the number of splits of the keys.
template <class T>
index_t general_forward(const SdpaParams<T>& p);  // forward.cu

/// The states of the splits, [splits][B·H][Nq] of Dv sums and of a maximum and a sum, merged in
/// order.
template <class T>
void merge_states(const SdpaParams<T>& p, index_t splits, const compute_t<T>* sums,
                  const Pack<compute_t<T>, 2>* states);  // merge.cu

/// statistics[B·H][Nq].
template <class T>
void query_statistics(const SdpaBackwardParams<T>& p,
                      QueryStatistics<T>* statistics);  // statistics.cu
/// dq; the number of splits of the keys.
template <class T>
index_t query_gradient(const SdpaBackwardParams<T>& p,
                       const QueryStatistics<T>* statistics);  // backward_query.cu
/// dk and dv; the number of splits of the queries.
template <class T>
index_t key_gradients(const SdpaBackwardParams<T>& p,
                      const QueryStatistics<T>* statistics);  // backward_key.cu
template <class T>
void bias_gradient(const SdpaBackwardParams<T>& p,
                   const QueryStatistics<T>* statistics);  // backward_bias.cu

/// Parts of a gradient, [parts][B][H][rows][width], and where their sum goes: `to` has the strides
/// s and `column`; heads and batches are added up where they are shared.
template <class T>
struct Parts {
  const compute_t<T>* from = nullptr;
  index_t parts = 0, B = 0, H = 0, rows = 0, width = 0;
  bool shared_b = false, shared_h = false;
  T* to = nullptr;
  HeadStrides s;
  index_t column = 1;
  bool accumulate = false;
};
/// Adds the parts up in an order that depends on their number only.
template <class T>
void collect(const Parts<T>& p);  // collect.cu

/// Where a kernel leaves the gradient of an operand: in its place, or as parts.
template <class T>
struct GradientTarget {
  T* to = nullptr;
  HeadStrides s;
  compute_t<T>* part = nullptr;  ///< [splits][B·H][rows][width], or null
  bool wanted = false, accumulate = false, aligned = false;
};

/// Owns the parts of one gradient, if it needs any.
template <class T>
class Gradient {
 public:
  Gradient(const SdpaParams<T>& p, T* to, const HeadStrides& s, GradMode mode, index_t rows,
           index_t width, index_t splits)
      : sum_{nullptr,
             splits,
             p.B,
             p.H,
             rows,
             width,
             p.B != 1 && s.batch == 0,
             p.H != 1 && s.head == 0,
             to,
             s,
             1,
             mode == GradMode::accumulate},
        wanted_(mode != GradMode::ignore && to),
        direct_(splits == 1 && !sum_.shared_b && !sum_.shared_h),
        memory_(wanted_ && !direct_ ? splits * p.B * p.H * rows * width + 1 : 1) {
    sum_.from = memory_.data();
  }
  GradientTarget<T> target(bool aligned) const {
    return {sum_.to, sum_.s,          direct_ ? nullptr : memory_.data(),
            wanted_, sum_.accumulate, direct_ ? aligned : sum_.width % 4 == 0};
  }
  void collect() const {
    if (wanted_ && !direct_) attention::collect(sum_);
  }

 private:
  Parts<T> sum_;
  bool wanted_, direct_;
  Scratch<compute_t<T>> memory_;
};

}  // namespace flr::cuda::attention
