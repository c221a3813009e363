// Layer norm and RMS norm over the last axis, and their gradients.
//
//   x̂ = (x − mean)·rstd,  y = x̂ w + b,  g = dy w:
//   dx = rstd (g − mean(g) − x̂ mean(g x̂)),  dw = Σ dy x̂,  db = Σ dy;
// RMS norm has no mean, neither of x nor of g.
#pragma once

#include <cmath>

#include "flr/core/norm_params.hpp"
#include "flr/cpu/dense_chunks.hpp"

FLR_CPU_BEGIN
namespace dense {

template <class T>
struct RowStatistics {
  T mean, rstd;
};

/// Two passes: the squares are of differences from the mean, and the small rest that rounding left
/// in the mean is taken out of both.
template <class T>
RowStatistics<T> row_statistics(index_t cols, const T* x, T eps, bool rms) {
  T mean = 0;
  if (!rms) {
    Vec<T> sum{};
    for_vectors<T>(cols, [&](index_t j, auto access) { sum += access.load(x + j); });
    mean = dense::sum<T>(sum) / T(cols);
  }
  Vec<T> squares{}, rests{};
  index_t j = 0;
  for (; j + dense::lanes<T> <= cols; j += dense::lanes<T>) {
    const Vec<T> d = dense::load(x + j) - mean;
    squares = fma(d, d, squares);
    rests += d;
  }
  T square = dense::sum<T>(squares), rest = dense::sum<T>(rests);
  for (; j < cols; ++j) square += (x[j] - mean) * (x[j] - mean), rest += x[j] - mean;
  if (rms) return {T(0), 1 / std::sqrt(square / T(cols) + eps)};
  rest /= T(cols);
  T variance = square / T(cols) - rest * rest;
  if (variance < 0) variance = 0;
  return {mean + rest, 1 / std::sqrt(variance + eps)};
}

/// Writes a row of the sum of which the norm is taken.
template <class T>
const T* sum_row(const NormParams<T>& p, index_t r) {
  const T *x = p.x + r * p.cols, *add = p.add ? p.add + r * p.cols : nullptr;
  const T* more = p.add_rows ? p.add_rows + r % p.period * p.cols : nullptr;
  T* sum = p.sum + r * p.cols;
  for_vectors<T>(p.cols, [&](index_t j, auto access) {
    Vec<T> v = access.load(x + j);
    if (add) v += access.load(add + j);
    if (more) v += access.load(more + j);
    access.store(sum + j, v);
  });
  return sum;
}

/// Rows a chunk: about 16 thousand elements.
inline RowChunks norm_chunks(index_t rows, index_t cols) {
  return cut_rows(rows, 1 + 16384 / (cols > 0 ? cols : 1));
}

}  // namespace dense

template <class T>
void norm(const NormParams<T>& p) {
  check(p.rows >= 0 && p.cols >= 1, "[norm] expected rows of 1 element or more; got [{}, {}]",
        p.rows, p.cols);
  const dense::RowChunks chunks = dense::norm_chunks(p.rows, p.cols);
  parallel_for(chunks.count, [&](index_t chunk) {
    const index_t begin = chunks.begin(chunk), end = begin + chunks.length(chunk);
    for (index_t r = begin; r < end; ++r) {
      const T* x = p.x + r * p.cols;
      T* y = p.y + r * p.cols;
      if (p.add || p.add_rows) x = dense::sum_row(p, r);
      const auto s = dense::row_statistics(p.cols, x, p.eps, p.rms);
      dense::for_vectors<T>(p.cols, [&](index_t j, auto access) {
        dense::Vec<T> v = (access.load(x + j) - s.mean) * s.rstd;
        if (p.w) v *= access.load(p.w + j);
        if (p.b) v += access.load(p.b + j);
        access.store(y + j, v);
      });
      if (p.mean && !p.rms) p.mean[r] = s.mean;
      if (p.rstd) p.rstd[r] = s.rstd;
    }
  });
}

template <class T>
void norm_backward(const NormBackwardParams<T>& p) {
  using dense::Vec;
  check(p.rows >= 0 && p.cols >= 1,
        "[norm_backward] expected rows of 1 element or more; got [{}, {}]", p.rows, p.cols);
  const bool sums_wanted = p.dw_mode != GradMode::ignore || p.db_mode != GradMode::ignore;
  const dense::RowChunks chunks = dense::norm_chunks(p.rows, p.cols);
  const index_t groups = dense::gradient_groups<T>(chunks.count, 2 * p.cols);
  flr::detail::Scratch<T> partials(sums_wanted ? groups * 2 * p.cols : 0);
  parallel_for(groups, [&](index_t group) {
    const index_t first = group * chunks.count / groups, last = (group + 1) * chunks.count / groups;
    const index_t begin = chunks.begin(first);
    const index_t end = chunks.begin(last - 1) + chunks.length(last - 1);
    T *dw = partials.data() + group * 2 * p.cols, *db = dw + p.cols;
    if (sums_wanted)
      for (index_t j = 0; j < 2 * p.cols; ++j) dw[j] = 0;
    for (index_t r = begin; r < end; ++r) {
      const T *x = p.x + r * p.cols, *dy = p.dy + r * p.cols;
      const T rstd = p.rstd[r], mean = p.rms ? T(0) : p.mean[r];
      Vec<T> g_sum{}, gx_sum{};
      dense::for_vectors<T>(p.cols, [&](index_t j, auto access) {
        const Vec<T> d = access.load(dy + j), normed = (access.load(x + j) - mean) * rstd;
        const Vec<T> g = p.w ? d * access.load(p.w + j) : d;
        // Beyond the row's end g is 0, whatever x̂ is there.
        g_sum += g;
        gx_sum = dense::fma(g, normed, gx_sum);
        if (!sums_wanted) return;
        access.store(dw + j, dense::fma(d, normed, access.load(dw + j)));
        access.store(db + j, access.load(db + j) + d);
      });
      if (p.dx_mode == GradMode::ignore) continue;
      const T g_mean = p.rms ? T(0) : dense::sum<T>(g_sum) / T(p.cols);
      const T gx_mean = dense::sum<T>(gx_sum) / T(p.cols);
      T* dx = p.dx + r * p.cols;
      dense::for_vectors<T>(p.cols, [&](index_t j, auto access) {
        const Vec<T> d = access.load(dy + j), normed = (access.load(x + j) - mean) * rstd;
        const Vec<T> g = p.w ? d * access.load(p.w + j) : d;
        const Vec<T> v = (g - g_mean - normed * gx_mean) * rstd;
        access.store(dx + j, p.dx_mode == GradMode::accumulate ? access.load(dx + j) + v : v);
      });
    }
  });
  const dense::PartialSum<T> sums[] = {{0, p.cols, p.dw, p.dw_mode},
                                       {p.cols, p.cols, p.db, p.db_mode}};
  dense::reduce_partials(groups, 2 * p.cols, partials.data(), sums, 2);
}

FLR_CPU_END
