// Running sums along an axis, and the first-order recurrence that they are a case of.
//
//   scan:         y_t = a_t y_{t−1} + x_t, y_{−1} = 0;
//                 g_t = dy_t + a_{t+1} g_{t+1}, dx_t = g_t, da_t = g_t y_{t−1}
//   cumsum:       a = 1
//   logcumsumexp: y_t = log Σ_{s≤t} exp(x_s);
//                 g_t = dy_t + exp(y_t − y_{t+1}) g_{t+1}, dx_t = exp(x_t − y_t) g_t
// Computed by doubling (Hillis & Steele 1986): log₂ n passes over whole tensors, which every backend
// has, in an order that depends on n alone. Where n is large, cut it into chunks first and scan
// within and across them, as the causal mixers do. Saves a and y, or x and y.
#pragma once

#include "flr/ops/concat.hpp"
#include "flr/ops/elementwise.hpp"

namespace flr {

namespace detail {

/// y_t = a_t y_{t−1} + x_t, or with `reverse` y_t = a_t y_{t+1} + x_t. a broadcasts to x; an
/// undefined a is 1.
template <Floating T>
Tensor<T> scan_values(Tensor<T> a, const Tensor<T>& x, int axis, bool reverse) {
  const index_t n = x.size(axis);
  Tensor<T> y = x.clone();
  if (a.defined()) a = a.clone();
  for (index_t s = 1; s < n; s *= 2) {
    const auto late = [&](const Tensor<T>& t) {
      return reverse ? slice(t, axis, 0, n - s) : slice(t, axis, s, n);
    };
    const auto early = [&](const Tensor<T>& t) {
      return reverse ? slice(t, axis, s, n) : slice(t, axis, 0, n - s);
    };
    if (a.defined()) {
      late(y).copy_(map(_1 * _2 + _3, late(a), early(y), late(y)));
      if (2 * s < n) late(a).copy_(late(a) * early(a));
    } else {
      late(y).copy_(early(y) + late(y));
    }
  }
  return y;
}

/// The elements one place further along an axis, `first` in front: x_{t−1}. With `reverse` x_{t+1},
/// and `first` at the end.
template <Floating T>
Tensor<T> shifted(const Tensor<T>& x, int axis, double first, bool reverse = false) {
  const index_t n = x.size(axis);
  Shape edge = x.shape();
  edge[axis] = n > 0 ? 1 : 0;
  const auto fill = full<T>(edge, static_cast<T>(static_cast<compute_t<T>>(first)), x.device());
  const index_t rest = n > 0 ? n - 1 : 0;
  if (reverse) return concat<T>({slice(x, axis, n - rest, n), fill}, axis);
  return concat<T>({fill, slice(x, axis, 0, rest)}, axis);
}

}  // namespace detail

/// y_t = a_t y_{t−1} + x_t along an axis, from y_{−1} = 0; with `reverse` y_t = a_t y_{t+1} + x_t, from
/// the end. a [.., n, ..] broadcasts to x and has x's extent along the axis.
template <Floating T>
Tensor<T> scan(const Tensor<T>& a, const Tensor<T>& x, int axis, bool reverse = false) {
  const int at = x.shape().axis(axis, "scan");
  check(a.rank() == x.rank() && a.size(at) == x.size(at) &&
            broadcast_shapes(a.shape(), x.shape(), "scan") == x.shape(),
        "[scan] factors of shape {} do not fit terms of shape {} along axis {}", a.shape(), x.shape(),
        axis);
  Tensor<T> y = no_grad([&] { return detail::scan_values(a.detach(), x.detach(), at, reverse); });
  if (recording(a, x))
    record("scan", y, Inputs(a, x), [a = save(a), y = save(y), at, reverse](Backward& b) {
      const Tensor<T> next = detail::shifted(a.get("scan"), at, 0, !reverse);
      const Tensor<T> g = detail::scan_values(next, b.grad<T>(), at, !reverse);
      if (b.wants(0)) {
        auto da = b.target<T>(0);
        detail::sum_to(g * detail::shifted(y.get("scan"), at, 0, reverse), da);
      }
      b.give(1, g);
    });
  return y;
}

/// x_0 + … + x_t along an axis.
template <Floating T>
Tensor<T> cumsum(const Tensor<T>& x, int axis) {
  const int at = x.shape().axis(axis, "cumsum");
  Tensor<T> y = no_grad([&] { return detail::scan_values({}, x.detach(), at, false); });
  if (recording(x))
    record("cumsum", y, Inputs(x), [at](Backward& b) {
      b.give(0, detail::scan_values({}, b.grad<T>(), at, true));
    });
  return y;
}

/// log(eᵃ + eᵇ), elementwise.
template <Floating T>
Tensor<T> logaddexp(const Tensor<T>& a, const Tensor<T>& b) {
  // The larger one in front: a difference that is huge and positive would swallow the result.
  return map(where(_1 > _2, _1 + softplus(_2 - _1), _2 + softplus(_1 - _2)), a, b);
}

/// log Σ_{s≤t} exp(x_s) along an axis. What counts as −∞ must be finite (−1e30).
template <Floating T>
Tensor<T> logcumsumexp(const Tensor<T>& x, int axis) {
  const int at = x.shape().axis(axis, "logcumsumexp");
  const index_t n = x.size(at);
  Tensor<T> y = x.clone();
  no_grad([&] {
    for (index_t s = 1; s < n; s *= 2) {
      Tensor<T> late = slice(y, at, s, n);
      const Tensor<T> early = slice(y, at, 0, n - s);
      late.copy_(map(max(_1, _2) + softplus(-abs(_1 - _2)), late, early));
    }
    return 0;
  });
  if (recording(x))
    record("logcumsumexp", y, Inputs(x), [x = save(x), y = save(y), at](Backward& b) {
      const Tensor<T> values = y.get("logcumsumexp");
      const Tensor<T> next = detail::shifted(values, at, 0, true);
      const Tensor<T> decay = map(exp(min(_1 - _2, 0.0)), values, next);
      const Tensor<T> g = detail::scan_values(decay, b.grad<T>(), at, true);
      b.give(0, map(exp(min(_1 - _2, 0.0)) * _3, x.get("logcumsumexp"), values, g));
    });
  return y;
}

}  // namespace flr
