// Layer norm and RMS norm over the last axis.
//
//   x̂ = (x − mean)·rstd (layer norm) or x·rstd (RMS norm), y = x̂·w + b;
//   dx̂ = dy·w, dx = rstd (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)), dw = Σ dy x̂, db = Σ dy.
// RMS norm has no mean terms. Saves x and the statistics. What a residual block adds to x in front of its norm
// is added by the same kernel, which then also writes the sum: its gradient is that of x and of what is added.
#pragma once

#include <limits>

#include "flr/ops/elementwise.hpp"
#include "flr/ops/explain_table.hpp"
#include "flr/ops/reduce.hpp"
#include "flr/ops/sum_to.hpp"

namespace flr {

/// The epsilon of RMS norm when none is given: the machine epsilon of the compute type.
template <Floating T>
inline constexpr double rms_epsilon = std::numeric_limits<compute_t<T>>::epsilon();

/// x plus what was added to it, and the norm of that.
template <Floating T>
struct SumAndNorm {
  Tensor<T> sum, norm;
};

namespace detail {

/// Whether a shape is that of the last axes of another.
inline bool is_tail(const Shape& tail, const Shape& of) {
  bool same = tail.rank() >= 1 && tail.rank() <= of.rank();
  for (int axis = 1; same && axis <= tail.rank(); ++axis) same = tail[-axis] == of[-axis];
  return same;
}

/// What a norm is called with, beside what it is taken of.
template <Floating T>
struct NormCall {
  const char* name;
  Tensor<compute_t<T>> w, b;
  double eps;
  bool rms;
};

/// y = norm x, recorded; `p` has what forward saved.
template <Floating T>
void record_norm(const NormCall<T>& call, const NormParams<T>& p, const Tensor<T>& x, Tensor<T>& y,
                 const Tensor<compute_t<T>>& mean, const Tensor<compute_t<T>>& rstd) {
  using C = compute_t<T>;
  record(call.name, y, Inputs(x, call.w, call.b),
         [name = call.name, rms = call.rms, rows = p.rows, cols = p.cols, x = save(x), w = save(call.w),
          mean = save(mean), rstd = save(rstd)](Backward& back) {
           const Tensor<T> dy = back.grad<T>();
           auto dx = back.target<T>(0);
           auto dw = back.target<C>(1), db = back.target<C>(2);
           NormBackwardParams<T> p;
           p.rows = rows, p.cols = cols, p.rms = rms;
           p.x = x.get(name).data(), p.dy = dy.data();
           p.w = w.get(name).defined() ? w.get(name).data() : nullptr;
           p.mean = mean.get(name).defined() ? mean.get(name).data() : nullptr;
           p.rstd = rstd.get(name).data();
           p.dx = dx.data(), p.dw = dw.data(), p.db = db.data();
           p.dx_mode = dx.mode(), p.dw_mode = dw.mode(), p.db_mode = db.mode();
           backend<T>(dy.device()).norm_backward(p);
         });
}

/// sum = x + a + rows, recorded: its gradient is that of x and of a, and summed over the other axes that of
/// rows. Nothing is saved.
template <Floating T>
void record_sum(Tensor<T>& sum, const Tensor<T>& x, const Tensor<T>& a, const Tensor<T>& rows) {
  record("add", sum, Inputs(x, a, rows), [](Backward& back) {
    const Tensor<T> dy = back.grad_strided<T>();
    {
      auto to_rows = back.target<T>(2);
      if (to_rows.wanted()) sum_to(dy, to_rows);
    }
    // As handles of their own: a leaf must see that the memory is shared.
    back.give(0, dy.detach());
    back.give(1, dy.detach());
  });
}

/// x + a + rows and its norm, where a and rows may be undefined.
template <Floating T>
SumAndNorm<T> sum_and_norm(const NormCall<T>& call, const Tensor<T>& x_in, const Tensor<T>& a_in = {},
                           const Tensor<T>& rows_in = {}) {
  using C = compute_t<T>;
  const auto& [name, w, b, eps, rms] = call;
  const index_t cols = x_in.size(-1);
  check(!w.defined() || w.shape() == Shape{cols}, "[{}] expected a weight [{}] for x {}, got {}",
        name, cols, x_in.shape(), w.defined() ? w.shape().str() : "none");
  check(!b.defined() || b.shape() == Shape{cols}, "[{}] expected a bias [{}] for x {}, got {}", name,
        cols, x_in.shape(), b.defined() ? b.shape().str() : "none");
  check(!a_in.defined() || a_in.shape() == x_in.shape(), "[{}] expected an addend of the shape of x {}, got {}",
        name, x_in.shape(), a_in.defined() ? a_in.shape() : Shape{});
  check(!rows_in.defined() || is_tail(rows_in.shape(), x_in.shape()),
        "[{}] expected rows to add of the shape of x's last axes, with x {}; got {}", name, x_in.shape(),
        rows_in.defined() ? rows_in.shape() : Shape{});
  const auto here = [&](const char* what, const auto& t) {
    check(!t.defined() || t.device() == x_in.device(), "[{}] expected the {} on {}, where x is; got one on {}", name,
          what, x_in.device().str(), t.defined() ? t.device().str() : "");
  };
  here("weight", w), here("bias", b), here("addend", a_in), here("rows to add", rows_in);
  const auto dense = [](const Tensor<T>& t) { return t.defined() ? contiguous(t) : t; };
  const auto at = [](const auto& t) { return t.defined() ? t.data() : nullptr; };
  const Tensor<T> x = contiguous(x_in), a = dense(a_in), rows = dense(rows_in);
  const bool adds = a.defined() || rows.defined();
  Tensor<T> sum = adds ? Tensor<T>::empty(x.shape(), x.device()) : x;
  auto y = Tensor<T>::empty(x.shape(), x.device());
  const bool tape = recording(x, a, rows, w, b);
  NormParams<T> p;
  p.cols = cols, p.rows = cols ? x.numel() / cols : 0;
  p.rms = rms, p.eps = static_cast<C>(eps);
  Tensor<C> mean, rstd;
  if (tape) {
    rstd = Tensor<C>::empty({p.rows}, x.device());
    if (!rms) mean = Tensor<C>::empty({p.rows}, x.device());
  }
  // As the sum is aligned, so must be what it is made of, or the order of summation were another.
  const auto ready = [&](const Tensor<T>& t) { return adds && t.defined() ? aligned(t) : t; };
  const Tensor<T> from = ready(x), addend = ready(a), repeated = ready(rows);
  p.x = from.data(), p.y = y.mutable_data();
  p.w = at(w), p.b = at(b);
  p.mean = mean.defined() ? mean.mutable_data() : nullptr;
  p.rstd = rstd.defined() ? rstd.mutable_data() : nullptr;
  p.add = at(addend), p.add_rows = at(repeated);
  if (rows.defined()) p.period = cols ? rows.numel() / cols : 0;
  if (adds) p.sum = sum.mutable_data();
  explain_table(name, x);
  backend<T>(x.device()).norm(p);
  if (adds && recording(x, a, rows)) record_sum(sum, x, a, rows);
  if (tape) record_norm(call, p, sum, y, mean, rstd);
  return {sum, y};
}

}  // namespace detail

/// Layer norm over the last axis (Ba et al. 2016); w and b [cols] may be undefined.
template <Floating T>
Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<compute_t<T>>& w = {},
                     const Tensor<compute_t<T>>& b = {}, double eps = 1e-5) {
  return detail::sum_and_norm<T>({"layer_norm", w, b, eps, false}, x).norm;
}

/// RMS norm over the last axis (Zhang & Sennrich 2019); w [cols] may be undefined.
template <Floating T>
Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<compute_t<T>>& w = {},
                   double eps = rms_epsilon<T>) {
  return detail::sum_and_norm<T>({"rms_norm", w, {}, eps, true}, x).norm;
}

/// sum = x + a + rows and its layer norm, in one pass. a has the shape of x; rows that of its last axes, as
/// vectors of positions do. Each may be undefined; where both are, the sum is x itself, not a copy. The same
/// bits as (x + a) + rows and layer_norm.
template <Floating T>
SumAndNorm<T> add_layer_norm(const Tensor<T>& x, const Tensor<T>& a, const Tensor<T>& rows = {},
                             const Tensor<compute_t<T>>& w = {}, const Tensor<compute_t<T>>& b = {},
                             double eps = 1e-5) {
  return detail::sum_and_norm<T>({"add_layer_norm", w, b, eps, false}, x, a, rows);
}

/// The same with RMS norm.
template <Floating T>
SumAndNorm<T> add_rms_norm(const Tensor<T>& x, const Tensor<T>& a, const Tensor<T>& rows = {},
                           const Tensor<compute_t<T>>& w = {}, double eps = rms_epsilon<T>) {
  return detail::sum_and_norm<T>({"add_rms_norm", w, {}, eps, true}, x, a, rows);
}

/// The definitions in simple operations.
template <Floating T>
Tensor<T> layer_norm_composition(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& b,
                                 double eps = 1e-5) {
  const Tensor<T> centred = x - mean(x, {-1}, true);
  const Tensor<T> scale = map(rsqrt(_1 + eps), mean(square(centred), {-1}, true));
  return map(_1 * _2 * _3 + _4, centred, scale, w, b);
}
template <Floating T>
Tensor<T> rms_norm_composition(const Tensor<T>& x, const Tensor<T>& w, double eps = rms_epsilon<T>) {
  const Tensor<T> scale = map(rsqrt(_1 + eps), mean(square(x), {-1}, true));
  return map(_1 * _2 * _3, x, scale, w);
}

}  // namespace flr
