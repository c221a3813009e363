// Layer norm and RMS norm over the last axis.
//
//   x̂ = (x − mean)·rstd (layer norm) or x·rstd (RMS norm), y = x̂·w + b;
//   dx̂ = dy·w, dx = rstd (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)), dw = Σ dy x̂, db = Σ dy.
// RMS norm has no mean terms. Saves x and the statistics.
#pragma once

#include <limits>

#include "flr/ops/elementwise.hpp"
#include "flr/ops/explain_table.hpp"
#include "flr/ops/reduce.hpp"

namespace flr {

/// The epsilon of RMS norm when none is given: the machine epsilon of the compute type.
template <Floating T>
inline constexpr double rms_epsilon = std::numeric_limits<compute_t<T>>::epsilon();

namespace detail {

template <Floating T>
Tensor<T> norm(const char* name, const Tensor<T>& x_in, const Tensor<compute_t<T>>& w,
               const Tensor<compute_t<T>>& b, double eps, bool rms) {
  using C = compute_t<T>;
  const index_t cols = x_in.size(-1);
  check(!w.defined() || w.shape() == Shape{cols}, "[{}] expected a weight [{}] for x {}, got {}",
        name, cols, x_in.shape(), w.defined() ? w.shape().str() : "none");
  check(!b.defined() || b.shape() == Shape{cols}, "[{}] expected a bias [{}] for x {}, got {}", name,
        cols, x_in.shape(), b.defined() ? b.shape().str() : "none");
  const Tensor<T> x = contiguous(x_in);
  auto y = Tensor<T>::empty(x.shape(), x.device());
  const bool tape = recording(x, w, b);
  NormParams<T> p;
  p.cols = cols, p.rows = cols ? x.numel() / cols : 0;
  p.rms = rms, p.eps = static_cast<C>(eps);
  Tensor<C> mean, rstd;
  if (tape) {
    rstd = Tensor<C>::empty({p.rows}, x.device());
    if (!rms) mean = Tensor<C>::empty({p.rows}, x.device());
  }
  p.x = x.data(), p.y = y.mutable_data();
  p.w = w.defined() ? w.data() : nullptr, p.b = b.defined() ? b.data() : nullptr;
  p.mean = mean.defined() ? mean.mutable_data() : nullptr;
  p.rstd = rstd.defined() ? rstd.mutable_data() : nullptr;
  explain_table(name, x);
  backend<T>(x.device()).norm(p);
  if (tape)
    record(name, y, Inputs(x, w, b),
           [name, rms, rows = p.rows, cols, x = save(x), w = save(w), mean = save(mean),
            rstd = save(rstd)](Backward& back) {
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
  return y;
}

}  // namespace detail

/// Layer norm over the last axis (Ba et al. 2016); w and b [cols] may be undefined.
template <Floating T>
Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<compute_t<T>>& w = {},
                     const Tensor<compute_t<T>>& b = {}, double eps = 1e-5) {
  return detail::norm("layer_norm", x, w, b, eps, false);
}

/// RMS norm over the last axis (Zhang & Sennrich 2019); w [cols] may be undefined.
template <Floating T>
Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<compute_t<T>>& w = {},
                   double eps = rms_epsilon<T>) {
  return detail::norm("rms_norm", x, w, Tensor<compute_t<T>>{}, eps, true);
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
