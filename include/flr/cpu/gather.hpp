// Elements picked along the middle axis of [outer, n, inner] by an index, and their gradient.
#pragma once

#include "flr/cpu/widen.hpp"

FLR_CPU_BEGIN

template <class T>
void gather(const GatherParams<T>& p) {
  if (p.inner == 0) return;
  parallel_ranges(p.outer * p.m, larger(1, chunk_elements / p.inner),
                  [&](index_t begin, index_t end) {
                    for (index_t row = begin; row < end; ++row) {
                      const T* x = p.x + row / p.m * p.n * p.inner;
                      const index_t* index = p.index + row * p.inner;
                      T* y = p.y + row * p.inner;
                      for (index_t i = 0; i < p.inner; ++i) y[i] = x[index[i] * p.inner + i];
                    }
                  });
}

/// For 16-bit storage see below.
template <class T>
void gather_backward(const GatherBackwardParams<T>& p) {
  if (p.dx_mode == GradMode::ignore) return;
  begin_gradient(p.dx, p.outer * p.n * p.inner, p.dx_mode);
  if (p.m == 0 || p.inner == 0) return;
  // Elements of dx meet only within one column (o, i), so columns are what threads share.
  constexpr index_t columns = 64;
  const index_t tiles = ceil_div(p.inner, columns);
  parallel_ranges(p.outer * tiles, larger(1, chunk_elements / (p.m * smaller(p.inner, columns))),
                  [&](index_t begin, index_t end) {
                    for (index_t item = begin; item < end; ++item) {
                      const index_t o = item / tiles, from = item % tiles * columns;
                      const index_t to = smaller(from + columns, p.inner);
                      T* dx = p.dx + o * p.n * p.inner;
                      for (index_t j = 0; j < p.m; ++j) {
                        const index_t row = (o * p.m + j) * p.inner;
                        for (index_t i = from; i < to; ++i)
                          dx[p.index[row + i] * p.inner + i] += p.dy[row + i];
                      }
                    }
                  });
}

/// Sums in float, rounded once.
inline void gather_backward(const GatherBackwardParams<bf16>& p) {
  if (p.dx_mode == GradMode::ignore) return;
  const Widened dy(p.dy, p.outer * p.m * p.inner), dx(p.dx, p.outer * p.n * p.inner, false);
  gather_backward(GatherBackwardParams<float>{p.outer, p.n, p.m, p.inner, p.index, dy.data(),
                                              dx.data(), GradMode::overwrite});
  dx.narrow(p.dx, p.dx_mode == GradMode::accumulate);
}

FLR_CPU_END
