// Relative errors of p-norm 1 or 2 a sample, averaged, and their gradients.
//   loss = mean ‖d‖/‖t‖, d = pred − target
//   dpred = s ‖d‖′/‖t‖,  dtarget = −dpred − s ‖d‖ ‖t‖′/‖t‖²,  s = dloss/samples,
// where ‖x‖′ is x/‖x‖₂ for p = 2 (0 at 0) and sign x for p = 1.
#pragma once

#include "flr/cpu/fill.hpp"

FLR_CPU_BEGIN

/// Σ |d|ᵖ and Σ |t|ᵖ over one piece of a sample, in double.
template <int P, class T>
inline void norm_sums(const T* pred, const T* target, index_t n, double* sums) {
  constexpr index_t lanes = 8;
  double d_lane[lanes] = {}, t_lane[lanes] = {};
  const auto add = [&](index_t i, index_t l) {
    const double t = static_cast<double>(static_cast<compute_t<T>>(target[i]));
    const double d = static_cast<double>(static_cast<compute_t<T>>(pred[i])) - t;
    d_lane[l] += P == 2 ? d * d : __builtin_fabs(d);
    t_lane[l] += P == 2 ? t * t : __builtin_fabs(t);
  };
  index_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (index_t l = 0; l < lanes; ++l) add(i + l, l);
  for (index_t l = 0; i < n; ++i, ++l) add(i, l);
  sums[0] = sums[1] = 0;
  for (index_t l = 0; l < lanes; ++l) sums[0] += d_lane[l], sums[1] += t_lane[l];
}

template <class T>
void relative_loss(const RelativeLossParams<T>& p) {
  using C = compute_t<T>;
  const index_t pieces = ceil_div(p.len, chunk_elements);
  const flr::detail::Scratch<double> part(p.samples * pieces * 2);
  parallel_for(p.samples * pieces, [&](index_t item) {
    const index_t begin = item % pieces * chunk_elements, first = item / pieces * p.len + begin;
    const index_t n = smaller(chunk_elements, p.len - begin);
    double* sums = part.data() + 2 * item;
    if (p.p == 2)
      norm_sums<2>(p.pred + first, p.target + first, n, sums);
    else
      norm_sums<1>(p.pred + first, p.target + first, n, sums);
  });
  double total = 0;
  for (index_t s = 0; s < p.samples; ++s) {
    double d = 0, t = 0;
    for (index_t j = s * pieces; j < (s + 1) * pieces; ++j) d += part[2 * j], t += part[2 * j + 1];
    if (p.p == 2) d = __builtin_sqrt(d), t = __builtin_sqrt(t);
    p.norms[2 * s] = static_cast<C>(d);
    p.norms[2 * s + 1] = static_cast<C>(t);
    total += d / t;
  }
  *p.loss = static_cast<C>(total / static_cast<double>(p.samples));
}

template <class T>
void relative_loss_backward(const RelativeLossBackwardParams<T>& p) {
  using C = compute_t<T>;
  const index_t pieces = ceil_div(p.len, chunk_elements);
  const bool square = p.p == 2;
  parallel_for(p.samples * pieces, [&](index_t item) {
    const index_t sample = item / pieces, from = item % pieces * chunk_elements;
    const index_t begin = sample * p.len + from, n = smaller(chunk_elements, p.len - from);
    const C d_norm = p.norms[2 * sample], t_norm = p.norms[2 * sample + 1];
    const C s = *p.dloss / static_cast<C>(p.samples);
    const C over_d = square ? (d_norm > 0 ? s / (d_norm * t_norm) : C(0)) : s / t_norm;
    const C over_t = d_norm / t_norm * (s / t_norm) / (square ? t_norm : C(1));
    const auto slope = [square](C x) {
      return square ? x : static_cast<C>(x > 0) - static_cast<C>(x < 0);
    };
    const T *pred = p.pred + begin, *target = p.target + begin;
    const auto write = [n, begin](T* gradient, GradMode mode, auto value) {
      if (mode == GradMode::ignore) return;
      T* y = gradient + begin;
      if (mode == GradMode::overwrite)
        for (index_t i = 0; i < n; ++i) y[i] = static_cast<T>(value(i));
      else
        for (index_t i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<C>(y[i]) + value(i));
    };
    const auto dpred = [=](index_t i) {
      return over_d * slope(static_cast<C>(pred[i]) - static_cast<C>(target[i]));
    };
    write(p.dpred, p.dpred_mode, dpred);
    write(p.dtarget, p.dtarget_mode,
          [=](index_t i) { return -dpred(i) - over_t * slope(static_cast<C>(target[i])); });
  });
}

FLR_CPU_END
