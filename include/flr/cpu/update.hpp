// One optimiser step over ranges of an arena, element by element. The arithmetic follows the order
// of PyTorch's optimisers, so that trajectories agree to rounding.
//   AdamW  Loshchilov and Hutter, arXiv 1711.05101      Lion  Chen et al., arXiv 2302.06675
#pragma once

#include "flr/cpu/convert.hpp"
#include "flr/cpu/simd_storage.hpp"

FLR_CPU_BEGIN

/// −1, 0 or 1; NaN stays, so that a broken gradient is seen.
template <class C>
FLR_ALWAYS_INLINE simd::Vec<C> sign_of(simd::Vec<C> x) {
  const simd::Vec<C> zero{}, one = simd::splat(C(1));
  return simd::select<C>(x > zero, one, simd::select<C>(x < zero, -one, x));
}

/// What a step multiplies its gradients with: the scale, and what clipping leaves of it.
inline double gradient_factor(const StepScalars& s, const double* norm_squared) {
  if (!norm_squared || s.clip <= 0) return s.grad_scale;
  const double norm = __builtin_sqrt(*norm_squared) * __builtin_fabs(s.grad_scale);
  return norm + 1e-6 > s.clip ? s.grad_scale * (s.clip / (norm + 1e-6)) : s.grad_scale;
}

/// The scalars of a step in the compute type; arithmetic between them was done in double.
template <class C>
struct UpdateScalars {
  C lr, beta1, rest1, beta2, rest2, decay, keep, root2, step, eps, undamped, scale;

  template <class T>
  explicit UpdateScalars(const UpdateParams<T>& p)
      : lr(static_cast<C>(p.s->lr)),
        beta1(static_cast<C>(p.s->beta1)),
        rest1(static_cast<C>(1 - p.s->beta1)),
        beta2(static_cast<C>(p.s->beta2)),
        rest2(static_cast<C>(1 - p.s->beta2)),
        decay(static_cast<C>(p.s->weight_decay)),
        keep(static_cast<C>(1 - p.s->lr * p.s->weight_decay)),
        root2(static_cast<C>(__builtin_sqrt(p.s->correction2))),
        step(static_cast<C>(p.s->lr / p.s->correction1)),
        eps(static_cast<C>(p.eps)),
        undamped(static_cast<C>(1 - p.dampening)),
        scale(static_cast<C>(gradient_factor(*p.s, p.norm_squared))) {}
};

/// Applies rule(p, g, m, v) to every element of a range, as vectors; moments that are null are 0.
template <class T, class Rule>
inline void update_run(const UpdateParams<T>& u, compute_t<T> scale, index_t begin, index_t end,
                       Rule rule) {
  using C = compute_t<T>;
  T *const p = u.p, *const m = u.m, *const v = u.v;
  const T* const g = u.g;
  simd::for_vectors<C>(begin, end, [=](index_t i, index_t n) {
    simd::Vec<C> pi = simd::load_any(p + i, n), mi{}, vi{};
    if (m) mi = simd::load_any(m + i, n);
    if (v) vi = simd::load_any(v + i, n);
    rule(pi, simd::load_any(g + i, n) * scale, mi, vi);
    simd::store_any(p + i, pi, n);
    if (m) simd::store_any(m + i, mi, n);
    if (v) simd::store_any(v + i, vi, n);
  });
}

template <class T>
void update_range(const UpdateParams<T>& u, index_t begin, index_t end) {
  using C = compute_t<T>;
  using V = simd::Vec<C>;
  const UpdateScalars<C> s(u);
  const auto adam = [s](V& p, V g, V& m, V& v) {
    m += s.rest1 * (g - m);
    v = s.beta2 * v + s.rest2 * g * g;
    p -= s.step * (m / (simd::sqrt(v) / s.root2 + s.eps));
  };
  switch (u.rule) {
    case UpdateRule::adamw:
      return update_run(u, s.scale, begin, end, [s, adam](V& p, V g, V& m, V& v) {
        p *= s.keep;
        adam(p, g, m, v);
      });
    case UpdateRule::adam_l2:
      return update_run(u, s.scale, begin, end,
                        [s, adam](V& p, V g, V& m, V& v) { adam(p, g + s.decay * p, m, v); });
    case UpdateRule::lion:
      return update_run(u, s.scale, begin, end, [s](V& p, V g, V& m, V&) {
        p = p * s.keep - s.lr * sign_of<C>(s.beta1 * m + s.rest1 * g);
        m = s.beta2 * m + s.rest2 * g;
      });
    case UpdateRule::lion_legacy:  // one momentum, which also takes the decay
      return update_run(u, s.scale, begin, end, [s](V& p, V g, V& m, V&) {
        m = s.beta1 * m + s.rest1 * (g + s.decay * p);
        p -= s.lr * sign_of<C>(m);
      });
    case UpdateRule::sgd:
      if (!u.m)
        return update_run(u, s.scale, begin, end, [s](V& p, V g, V&, V&) { p -= s.lr * (g + s.decay * p); });
      return update_run(u, s.scale, begin, end,
                        [s, first = u.s->step == 1, nesterov = u.nesterov](V& p, V g, V& m, V&) {
                          const V d = g + s.decay * p;
                          m = first ? d : s.beta1 * m + s.undamped * d;
                          p -= s.lr * (nesterov ? d + s.beta1 * m : m);
                        });
  }
}

template <class T>
void update(const UpdateParams<T>& p) {
  if (p.norm_squared && !__builtin_isfinite(*p.norm_squared)) return;
  index_t total = 0;
  for (int r = 0; r < p.range_count; ++r) total += p.ranges[r].end - p.ranges[r].begin;
  parallel_ranges(total, chunk_elements, [&](index_t begin, index_t end) {
    index_t first = 0;  // elements of the ranges before r
    for (int r = 0; r < p.range_count && first < end; ++r) {
      const ArenaRange range = p.ranges[r];
      const index_t n = range.end - range.begin;
      const index_t from = larger(begin - first, 0), to = smaller(end - first, n);
      if (from < to) {
        update_range(p, range.begin + from, range.begin + to);
        if (p.shadow)
          for (index_t i = range.begin + from; i < range.begin + to; ++i)
            p.shadow[i] = bf16(static_cast<float>(p.p[i]));
      }
      first += n;
    }
  });
}

FLR_CPU_END
