// Mean cross-entropy over the rows that have a label, and its gradient.
//   loss = Σ (lse(z) − z_label)/count,  dz = (exp(z − lse) − onehot) · dloss/count
#pragma once

#include "flr/cpu/block_math.hpp"
#include "flr/cpu/convert.hpp"
#include "flr/cpu/reduce_runs.hpp"

FLR_CPU_BEGIN

/// Elements of the group of rows that a chunk takes.
inline constexpr index_t cross_entropy_group = 8192;

template <class T>
void cross_entropy(const CrossEntropyParams<T>& p) {
  using C = compute_t<T>;
  const index_t n = p.classes;
  const flr::detail::Scratch<double> row_loss(p.rows);
  parallel_ranges(
      p.rows, larger(1, cross_entropy_group / larger(n, 1)), [&](index_t begin, index_t end) {
        const flr::detail::Scratch<C> e(n);
        for (index_t r = begin; r < end; ++r) {
          const T* z = p.logits + r * n;
          const C top = static_cast<C>(reduce_run<MaxOp>(z, 1, n));
          for (index_t j = 0; j < n; ++j) e[j] = static_cast<C>(z[j]) - top;
          map_run<Unary::exp>(e.data(), e.data(), n);
          const double log_sum = __builtin_log(reduce_run<SumOp>(e.data(), 1, n));
          p.lse[r] = static_cast<C>(static_cast<double>(top) + log_sum);
          row_loss[r] = p.labels[r] == p.ignore
                            ? 0.0
                            : static_cast<double>(top) -
                                  static_cast<double>(static_cast<C>(z[p.labels[r]])) + log_sum;
        }
      });
  double total = 0;
  index_t count = 0;
  for (index_t r = 0; r < p.rows; ++r) {
    total += row_loss[r];
    count += p.labels[r] != p.ignore;
  }
  *p.count = static_cast<C>(count);
  *p.loss = static_cast<C>(count ? total / static_cast<double>(count) : 0.0);
}

template <class T>
void cross_entropy_backward(const CrossEntropyBackwardParams<T>& p) {
  using C = compute_t<T>;
  if (p.mode == GradMode::ignore) return;
  const index_t n = p.classes;
  const C scale = *p.count > 0 ? *p.dloss / *p.count : C(0);
  parallel_ranges(p.rows, larger(1, cross_entropy_group / larger(n, 1)),
                  [&](index_t begin, index_t end) {
                    const flr::detail::Scratch<C> e(n);
                    for (index_t r = begin; r < end; ++r) {
                      const bool labelled = p.labels[r] != p.ignore;
                      const T* z = p.logits + r * n;
                      for (index_t j = 0; j < n; ++j) e[j] = static_cast<C>(z[j]) - p.lse[r];
                      map_run<Unary::exp>(e.data(), e.data(), n);
                      if (labelled) e[p.labels[r]] -= 1;
                      for (index_t j = 0; j < n; ++j) e[j] = labelled ? e[j] * scale : C(0);
                      store_run(e.data(), p.dlogits + r * n, n, p.mode == GradMode::accumulate);
                    }
                  });
}

FLR_CPU_END
