// One value everywhere.
#pragma once

#include "flr/cpu/convert.hpp"

FLR_CPU_BEGIN

template <class T>
inline void fill_run(T* y, T value, index_t n) {
  for (index_t i = 0; i < n; ++i) y[i] = value;
}

template <class T>
void fill(T* x, index_t n, compute_t<T> value) {
  const T v = static_cast<T>(value);
  parallel_ranges(n, chunk_elements,
                  [=](index_t begin, index_t end) { fill_run(x + begin, v, end - begin); });
}

/// Readies a gradient that is going to be added to: zeros unless it accumulates.
template <class T>
inline void begin_gradient(T* x, index_t n, GradMode mode) {
  if (mode == GradMode::overwrite) fill(x, n, compute_t<T>(0));
}

FLR_CPU_END
