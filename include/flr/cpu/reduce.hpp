// Sums and maxima over any axes. The reduced elements are cut into pieces whose size follows from
// the shapes alone; pieces are combined in order, so the bits do not depend on threads.
#pragma once

#include "flr/cpu/reduce_runs.hpp"

FLR_CPU_BEGIN

/// Reduced elements that one piece takes when they are summed along rows.
inline constexpr index_t reduce_piece = 16384;
/// Columns that are summed side by side, and the rows of a piece of them.
inline constexpr index_t reduce_columns = 256, reduce_rows = 512;

/// Writes result i, formed in the accumulator type.
template <class Op, class T>
inline void store_reduced(const ReduceParams<T>& p, index_t i, double value) {
  value *= static_cast<double>(Op::scales ? p.scale : 1);
  if (p.accumulate) value = Op::join(static_cast<double>(static_cast<compute_t<T>>(p.y[i])), value);
  p.y[i] = static_cast<T>(static_cast<compute_t<T>>(value));
}

/// Every result from elements that lie along the reduced axes.
template <class Op, class T>
void reduce_along(const ReduceParams<T>& p, const Layout<1>& kept, const Layout<1>& reduced) {
  const index_t results = kept.numel(), n = reduced.numel();
  const int last = reduced.rank - 1;
  const index_t row = last < 0 ? 1 : reduced.extent[last];
  const index_t stride = last < 0 ? 1 : reduced.stride[0][last];
  const Layout<1> outer = last < 0 ? reduced : reduced.without(last);

  const auto piece = [&](const T* x, index_t begin, index_t end) {
    double total = Op::template identity<double>;
    Position<1> at(outer, begin / row);
    for (index_t column = begin % row; begin < end; column = 0, at.next()) {
      const index_t run = smaller(row - column, end - begin);
      total = Op::join(total, reduce_run<Op>(x + at.offset[0] + column * stride, stride, run));
      begin += run;
    }
    return total;
  };

  const index_t pieces = ceil_div(n, reduce_piece);
  if (pieces <= 1) {
    parallel_ranges(results, larger(1, reduce_piece / n), [&](index_t begin, index_t end) {
      Position<1> at(kept, begin);
      for (index_t i = begin; i < end; ++i, at.next())
        store_reduced<Op>(p, i, piece(p.x + at.offset[0], 0, n));
    });
    return;
  }
  const flr::detail::Scratch<double> part(results * pieces);
  parallel_for(results * pieces, [&](index_t item) {
    const Position<1> at(kept, item / pieces);
    const index_t begin = item % pieces * reduce_piece;
    part[item] = piece(p.x + at.offset[0], begin, smaller(begin + reduce_piece, n));
  });
  for (index_t i = 0; i < results; ++i) {
    double total = part[i * pieces];
    for (index_t j = 1; j < pieces; ++j) total = Op::join(total, part[i * pieces + j]);
    store_reduced<Op>(p, i, total);
  }
}

/// Results that lie side by side, as in the sum of the rows of a matrix: whole rows are added.
template <class Op, class T>
void reduce_across(const ReduceParams<T>& p, const Layout<1>& kept, const Layout<1>& reduced) {
  const int last = kept.rank - 1;
  const index_t columns = kept.extent[last], n = reduced.numel();
  const Layout<1> outer = kept.without(last);
  const index_t row = reduced.extent[reduced.rank - 1];
  const index_t stride = reduced.stride[0][reduced.rank - 1];
  const Layout<1> outer_rows = reduced.without(reduced.rank - 1);

  const index_t tiles = ceil_div(columns, reduce_columns), places = outer.numel() * tiles;
  // Narrow columns take long pieces, many columns one piece: they keep all threads busy anyway.
  const index_t rows = reduce_rows * larger(1, 64 / smaller(columns, 64));
  const index_t pieces = places >= 64 ? 1 : ceil_div(n, rows);
  const index_t piece_rows = pieces == 1 ? n : rows;
  const index_t width = smaller(columns, reduce_columns);
  const flr::detail::Scratch<double> part(pieces > 1 ? places * pieces * width : 0);

  const auto store = [&](index_t place, const double* total, index_t count) {
    const index_t first = place / tiles * columns + place % tiles * reduce_columns;
    for (index_t c = 0; c < count; ++c) store_reduced<Op>(p, first + c, total[c]);
  };
  const auto count_of = [&](index_t place) {
    return smaller(reduce_columns, columns - place % tiles * reduce_columns);
  };
  parallel_for(places * pieces, [&](index_t item) {
    const index_t place = item / pieces, count = count_of(place);
    double local[reduce_columns];
    double* total = pieces > 1 ? part.data() + item * width : local;
    for (index_t c = 0; c < count; ++c) total[c] = Op::template identity<double>;
    const T* x = p.x + Position<1>(outer, place / tiles).offset[0] + place % tiles * reduce_columns;
    index_t begin = item % pieces * piece_rows;
    const index_t end = smaller(begin + piece_rows, n);
    Position<1> at(outer_rows, begin / row);
    for (index_t r = begin % row; begin < end; r = 0, at.next()) {
      const index_t run = smaller(row - r, end - begin);
      reduce_rows_run<Op>(x + at.offset[0] + r * stride, stride, run, count, total);
      begin += run;
    }
    if (pieces == 1) store(place, total, count);
  });
  if (pieces == 1) return;
  parallel_for(places, [&](index_t place) {
    const index_t count = count_of(place);
    double* total = part.data() + place * pieces * width;
    for (index_t j = 1; j < pieces; ++j)
      for (index_t c = 0; c < count; ++c) total[c] = Op::join(total[c], total[j * width + c]);
    store(place, total, count);
  });
}

template <class Op, class T>
void reduce_by(const ReduceParams<T>& p) {
  Layout<1> kept, reduced;
  for (int a = 0; a < p.kept.rank(); ++a)
    kept.append(p.kept.begin()[a], {p.kept_strides.begin()[a]});
  // The order of the reduced axes is free: longest strides outside, so that runs are contiguous.
  int order[max_rank];
  const index_t* stride = p.reduced_strides.begin();
  for (int a = 0; a < p.reduced.rank(); ++a) {
    int i = a;
    for (; i > 0 && stride[order[i - 1]] < stride[a]; --i) order[i] = order[i - 1];
    order[i] = a;
  }
  for (int i = 0; i < p.reduced.rank(); ++i)
    reduced.append(p.reduced.begin()[order[i]], {stride[order[i]]});

  const bool across = kept.rank > 0 && reduced.rank > 0 && kept.stride[0][kept.rank - 1] == 1 &&
                      reduced.stride[0][reduced.rank - 1] != 1;
  if (kept.numel() == 0) return;
  if (reduced.numel() == 0) {
    for (index_t i = 0; i < kept.numel(); ++i)
      store_reduced<Op>(p, i, Op::template identity<double>);
    return;
  }
  if (across)
    reduce_across<Op>(p, kept, reduced);
  else
    reduce_along<Op>(p, kept, reduced);
}

/// A sum is added to y if p.accumulate; a maximum is taken with y. A maximum over nothing is −∞.
template <class T>
void reduce(const ReduceParams<T>& p) {
  if (p.kind == Reduction::sum)
    reduce_by<SumOp>(p);
  else
    reduce_by<MaxOp>(p);
}

FLR_CPU_END
