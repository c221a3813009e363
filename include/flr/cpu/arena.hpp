// Whole-arena passes of a training step: the square sum of a gradient, and moving averages.
#pragma once

#include "flr/cpu/convert.hpp"

FLR_CPU_BEGIN

/// *out = Σ g², in double from the first product on, in pieces whose size does not depend on threads.
template <class T>
void sum_squares(const T* g, index_t n, double* out) {
  constexpr index_t lanes = 16;
  const index_t pieces = ceil_div(n, chunk_elements);
  const flr::detail::Scratch<double> part(pieces);
  parallel_for(pieces, [&](index_t piece) {
    const T* x = g + piece * chunk_elements;
    const index_t count = smaller(chunk_elements, n - piece * chunk_elements);
    double lane[lanes] = {};
    index_t i = 0;
    for (; i + lanes <= count; i += lanes)
      for (index_t l = 0; l < lanes; ++l) {
        const double v = static_cast<double>(x[i + l]);
        lane[l] += v * v;
      }
    for (index_t l = 0; i < count; ++i, ++l) {
      const double v = static_cast<double>(x[i]);
      lane[l] += v * v;
    }
    for (index_t half = lanes / 2; half > 0; half /= 2)
      for (index_t l = 0; l < half; ++l) lane[l] += lane[l + half];
    part[piece] = lane[0];
  });
  double total = 0;
  for (index_t piece = 0; piece < pieces; ++piece) total += part[piece];
  *out = total;
}

/// shadow = decay · shadow + (1 − decay) · p.
template <class T>
void ema(T* shadow, const T* p, index_t n, double decay) {
  using C = compute_t<T>;
  const C keep = static_cast<C>(decay), take = static_cast<C>(1 - decay);
  parallel_ranges(n, chunk_elements, [=](index_t begin, index_t end) {
    FLR_ELEMENTWISE
    for (index_t i = begin; i < end; ++i)
      shadow[i] = static_cast<T>(keep * static_cast<C>(shadow[i]) + take * static_cast<C>(p[i]));
  });
}

FLR_CPU_END
