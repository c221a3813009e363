// The dense layer y = act(x wᵀ + b) and its gradients, a chunk of rows at a time.
#pragma once

#include "flr/cpu/dense_activation.hpp"
#include "flr/cpu/gemm.hpp"

FLR_CPU_BEGIN
namespace dense {

/// y[rows,out] = x wᵀ, or y + x wᵀ where `add`; w [out,in] is also given packed.
template <class T>
void layer_product(index_t rows, index_t in, index_t out, const T* x, const T* w,
                   RightOperand<T> packed, T* y, bool add) {
  if (out == 1)
    multiply_column(rows, in, x, in, w, y, index_t{1}, add);
  else
    multiply(rows, out, in, {x, in, 1}, packed, y, out, add);
}

/// Weights beyond this many elements do not stay in the second-level cache while rows pass: one
/// product over all rows, which blocks for the caches, is better than chunks of rows.
inline constexpr index_t wide_layer = index_t{1} << 17;

template <class T>
void linear_wide(const LinearParams<T>& p) {
  T* product = p.pre ? p.pre : p.y;
  GemmParams<T> g;
  g.m = p.rows, g.n = p.out, g.k = p.in, g.trans_b = true;
  g.a = p.x, g.lda = p.in, g.b = p.w, g.ldb = p.in, g.c = product, g.ldc = p.out;
  gemm(g);
  const RowChunks chunks = cut_rows(p.rows, 1 + 16384 / p.out);
  parallel_for(chunks.count, [&](index_t chunk) {
    const index_t at = chunks.begin(chunk) * p.out;
    finish_rows<T>(p.act, chunks.length(chunk), p.out, product + at, p.b, nullptr, p.y + at);
  });
}

}  // namespace dense

/// A chunk's bias and activation follow its product while it is in cache.
template <class T>
void linear(const LinearParams<T>& p) {
  check(p.rows >= 0 && p.in >= 0 && p.out >= 0,
        "[linear] expected extents of 0 or more; got rows {}, in {}, out {}", p.rows, p.in, p.out);
  if (p.rows == 0 || p.out == 0) return;
  if (p.in * p.out > dense::wide_layer) return dense::linear_wide(p);
  flr::detail::Scratch<T> room(dense::packed_size<T>(p.in, p.out));
  const auto w = dense::pack_parallel(p.in, p.out, p.w, index_t{1}, p.in, room.data());
  const auto chunks = dense::cut_rows(p.rows, dense::target_rows(p.in > p.out ? p.in : p.out));
  parallel_for(chunks.count, [&](index_t chunk) {
    const index_t r = chunks.begin(chunk), rows = chunks.length(chunk);
    T* y = p.y + r * p.out;
    T* pre = p.pre ? p.pre + r * p.out : y;
    dense::layer_product(rows, p.in, p.out, p.x + r * p.in, p.w, w, pre, false);
    dense::finish_rows<T>(p.act, rows, p.out, pre, p.b, nullptr, y);
  });
}

namespace dense {

/// The same for gradients: partial sums of such weights would take too much memory. dp [rows, out]
/// is dy, or made here where there is an activation.
template <class T>
void linear_backward_wide(const LinearBackwardParams<T>& p) {
  const bool plain = p.act == Activation::identity;
  flr::detail::Scratch<T> room(plain ? 0 : p.rows * p.out);
  if (!plain)
    parallel_ranges(p.rows * p.out, 16384, [&](index_t begin, index_t end) {
      activation_gradient(p.act, end - begin, p.pre + begin, p.dy + begin, room.data() + begin);
    });
  GemmParams<T> g;
  g.a = plain ? p.dy : room.data(), g.lda = p.out;
  if (p.dx_mode != GradMode::ignore) {
    g.m = p.rows, g.n = p.in, g.k = p.out;
    g.b = p.w, g.ldb = p.in, g.c = p.dx, g.ldc = p.in;
    g.beta = p.dx_mode == GradMode::accumulate ? T(1) : T(0);
    gemm(g);
  }
  if (p.dw_mode != GradMode::ignore) {
    g.m = p.out, g.n = p.in, g.k = p.rows, g.trans_a = true;
    g.b = p.x, g.ldb = p.in, g.c = p.dw, g.ldc = p.in;
    g.beta = p.dw_mode == GradMode::accumulate ? T(1) : T(0);
    gemm(g);
  }
  if (p.db_mode == GradMode::ignore) return;
  const RowChunks chunks = cut_rows(p.rows, (p.rows + 31) / 32);
  flr::detail::Scratch<T> partials(chunks.count * p.out);
  parallel_for(chunks.count, [&](index_t chunk) {
    column_sums(chunks.length(chunk), p.out, g.a + chunks.begin(chunk) * p.out,
                partials.data() + chunk * p.out, false);
  });
  const PartialSum<T> db{0, p.out, p.db, p.db_mode};
  reduce_partials(chunks.count, p.out, partials.data(), &db, 1);
}

}  // namespace dense

/// Each group of chunks sums its own dw and db; the groups are then added in order.
template <class T>
void linear_backward(const LinearBackwardParams<T>& p) {
  check(p.rows >= 0 && p.in >= 0 && p.out >= 0,
        "[linear_backward] expected extents of 0 or more; got rows {}, in {}, out {}", p.rows, p.in,
        p.out);
  check(p.act == Activation::identity || p.pre || p.rows * p.out == 0,
        "[linear_backward] expected the pre-activations that forward saves; got none");
  const bool want_dx = p.dx_mode != GradMode::ignore, want_dw = p.dw_mode != GradMode::ignore;
  const bool want_db = p.db_mode != GradMode::ignore;
  const index_t weights = want_dw ? p.in * p.out : 0, parameters = weights + p.out;
  if (p.rows > 0 && weights > dense::wide_layer) return dense::linear_backward_wide(p);

  const auto chunks = dense::cut_rows(p.rows, dense::target_rows(p.in > p.out ? p.in : p.out));
  const index_t groups = dense::gradient_groups<T>(chunks.count, parameters);
  const bool plain = p.act == Activation::identity;
  flr::detail::Scratch<T> partials(groups * parameters);
  flr::detail::Scratch<T> w_room(want_dx ? dense::packed_size<T>(p.out, p.in) : 0);
  dense::RightOperand<T> w{};
  if (want_dx) w = dense::pack_parallel(p.out, p.in, p.w, p.in, index_t{1}, w_room.data());
  parallel_for(groups, [&](index_t group) {
    flr::detail::Scratch<T> dp_room(plain ? 0 : chunks.size * p.out);
    flr::detail::Scratch<T> x_room(want_dw ? dense::packed_size<T>(chunks.size, p.in) : 0);
    T *dw = partials.data() + group * parameters, *db = dw + weights;
    const index_t first = group * chunks.count / groups, last = (group + 1) * chunks.count / groups;
    for (index_t chunk = first; chunk < last; ++chunk) {
      const index_t r = chunks.begin(chunk), rows = chunks.length(chunk);
      const bool add = chunk > first;
      const T* dp = p.dy + r * p.out;
      if (!plain) {
        dense::activation_gradient(p.act, rows * p.out, p.pre + r * p.out, dp, dp_room.data());
        dp = dp_room.data();
      }
      if (want_db) dense::column_sums(rows, p.out, dp, db, add);
      if (want_dw) {
        const auto x = dense::right_operand(rows, p.in, p.x + r * p.in, p.in, x_room.data());
        dense::multiply(p.out, p.in, rows, {dp, 1, p.out}, x, dw, p.in, add);
      }
      if (want_dx)
        dense::multiply(rows, p.in, p.out, {dp, p.out, 1}, w, p.dx + r * p.in, p.in,
                        p.dx_mode == GradMode::accumulate);
    }
  });
  const dense::PartialSum<T> sums[] = {{0, weights, p.dw, p.dw_mode},
                                       {weights, p.out, p.db, p.db_mode}};
  dense::reduce_partials(groups, parameters, partials.data(), sums, 2);
}

FLR_CPU_END
