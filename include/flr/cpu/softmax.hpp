// Softmax and log-softmax over the middle axis of [outer, n, inner], and their gradients.
//   y = exp(x − max)/Σ, dx = y (dy − Σ y dy);   log: y = x − max − log Σ, dx = dy − eʸ Σ dy.
// A tile is a few columns (o, i) over all of n, held in the compute type; with inner = 1, whole
// rows.
#pragma once

#include "flr/cpu/block_math.hpp"
#include "flr/cpu/convert.hpp"
#include "flr/cpu/reduce_runs.hpp"

FLR_CPU_BEGIN

/// Columns of a tile when inner > 1; elements of a group of rows when inner = 1.
inline constexpr index_t softmax_columns = 64, softmax_group = 2048;

/// Runs row(first, rows) over groups of rows and column(o, i, count) over tiles of columns.
template <class P, class Rows, class Columns>
void softmax_parts(const P& p, Rows&& rows, Columns&& columns) {
  if (p.n == 0 || p.outer == 0 || p.inner == 0) return;
  if (p.inner == 1) {
    parallel_ranges(p.outer, larger(1, softmax_group / p.n),
                    [&](index_t begin, index_t end) { rows(begin, end - begin); });
    return;
  }
  const index_t tiles = ceil_div(p.inner, softmax_columns);
  parallel_for(p.outer * tiles, [&](index_t item) {
    const index_t i = item % tiles * softmax_columns;
    columns(item / tiles * p.n * p.inner + i, smaller(softmax_columns, p.inner - i));
  });
}

template <class T>
void softmax(const SoftmaxParams<T>& p) {
  using C = compute_t<T>;
  const index_t n = p.n, inner = p.inner;
  const auto rows = [&](index_t first, index_t count) {
    const flr::detail::Scratch<C> shifted(count * n), weights(p.log ? count * n : 0);
    for (index_t r = 0; r < count; ++r) {
      const T* x = p.x + (first + r) * n;
      C* s = shifted.data() + r * n;
      const C top = static_cast<C>(reduce_run<MaxOp>(x, 1, n));
      for (index_t j = 0; j < n; ++j) s[j] = static_cast<C>(x[j]) - top;
    }
    C* w = p.log ? weights.data() : shifted.data();
    map_run<Unary::exp>(shifted.data(), w, count * n);
    for (index_t r = 0; r < count; ++r, w += n) {
      const double sum = reduce_run<SumOp>(w, 1, n);
      T* y = p.y + (first + r) * n;
      const C* s = shifted.data() + r * n;
      const C c = static_cast<C>(p.log ? __builtin_log(sum) : 1 / sum);
      if (p.log)
        for (index_t j = 0; j < n; ++j) y[j] = static_cast<T>(s[j] - c);
      else
        for (index_t j = 0; j < n; ++j) y[j] = static_cast<T>(s[j] * c);
    }
  };
  const auto columns = [&](index_t first, index_t count) {
    const T* x = p.x + first;
    T* y = p.y + first;
    C top[softmax_columns], row[softmax_columns], c[softmax_columns];
    double sum[softmax_columns] = {};
    for (index_t i = 0; i < count; ++i) top[i] = MaxOp::identity<C>;
    for (index_t j = 0; j < n; ++j)
      for (index_t i = 0; i < count; ++i)
        top[i] = MaxOp::join(top[i], static_cast<C>(x[j * inner + i]));
    const auto exponentials = [&](index_t j) {
      for (index_t i = 0; i < count; ++i) row[i] = static_cast<C>(x[j * inner + i]) - top[i];
      map_run<Unary::exp>(row, row, count);
    };
    for (index_t j = 0; j < n; ++j) {
      exponentials(j);
      for (index_t i = 0; i < count; ++i) sum[i] += static_cast<double>(row[i]);
      // For 16-bit storage the exponentials are made again below instead of being rounded twice.
      if constexpr (std::same_as<T, C>)
        if (!p.log) convert_run(row, y + j * inner, count);
    }
    for (index_t i = 0; i < count; ++i)
      c[i] = static_cast<C>(p.log ? __builtin_log(sum[i]) : 1 / sum[i]);
    for (index_t j = 0; j < n; ++j) {
      T* out = y + j * inner;
      if (p.log) {
        for (index_t i = 0; i < count; ++i)
          out[i] = static_cast<T>(static_cast<C>(x[j * inner + i]) - top[i] - c[i]);
      } else if constexpr (std::same_as<T, C>) {
        for (index_t i = 0; i < count; ++i) out[i] *= c[i];
      } else {
        exponentials(j);
        for (index_t i = 0; i < count; ++i) out[i] = static_cast<T>(row[i] * c[i]);
      }
    }
  };
  softmax_parts(p, rows, columns);
}

/// dx for n elements that share one sum; `e` has eʸ for log-softmax, y otherwise.
template <class T, class C>
inline void softmax_slope(const SoftmaxBackwardParams<T>& p, const C* e, const T* dy, const C* sum,
                          index_t sum_stride, T* dx, index_t n) {
  const bool add = p.dx_mode == GradMode::accumulate;
  for (index_t j = 0; j < n; ++j) {
    const C d = static_cast<C>(dy[j]), s = sum[j * sum_stride];
    const C value = p.log ? d - e[j] * s : e[j] * (d - s);
    dx[j] = static_cast<T>(add ? static_cast<C>(dx[j]) + value : value);
  }
}

template <class T>
void softmax_backward(const SoftmaxBackwardParams<T>& p) {
  using C = compute_t<T>;
  if (p.dx_mode == GradMode::ignore) return;
  const index_t n = p.n, inner = p.inner;
  const auto rows = [&](index_t first, index_t count) {
    const flr::detail::Scratch<C> e(count * n), product(n);
    convert_run(p.y + first * n, e.data(), count * n);
    if (p.log) map_run<Unary::exp>(e.data(), e.data(), count * n);
    for (index_t r = 0; r < count; ++r) {
      const T* dy = p.dy + (first + r) * n;
      const C* er = e.data() + r * n;
      for (index_t j = 0; j < n; ++j)
        product[j] = p.log ? static_cast<C>(dy[j]) : er[j] * static_cast<C>(dy[j]);
      const C sum = static_cast<C>(reduce_run<SumOp>(product.data(), 1, n));
      softmax_slope(p, er, dy, &sum, 0, p.dx + (first + r) * n, n);
    }
  };
  const auto columns = [&](index_t first, index_t count) {
    C e[softmax_columns], s[softmax_columns];
    double sum[softmax_columns] = {};
    for (index_t j = 0; j < n; ++j)
      for (index_t i = 0; i < count; ++i) {
        const index_t at = first + j * inner + i;
        sum[i] += static_cast<double>(static_cast<C>(p.dy[at])) *
                  (p.log ? 1.0 : static_cast<double>(static_cast<C>(p.y[at])));
      }
    for (index_t i = 0; i < count; ++i) s[i] = static_cast<C>(sum[i]);
    for (index_t j = 0; j < n; ++j) {
      const index_t at = first + j * inner;
      convert_run(p.y + at, e, count);
      if (p.log) map_run<Unary::exp>(e, e, count);
      softmax_slope(p, e, p.dy + at, s, 1, p.dx + at, count);
    }
  };
  softmax_parts(p, rows, columns);
}

FLR_CPU_END
