// Definitions of mixers in plain loops: what they are compared with.
#pragma once

#include "flr/flr.hpp"

namespace flr {

using Heads = std::vector<Tensor<double>>;

inline Heads random_heads(int count, index_t n = 6, index_t d = 3, double scale = 1) {
  Heads list;
  for (int i = 0; i < count; ++i) list.push_back(randn<double>({2, 2, n, d}) * scale);
  return list;
}

/// Fills [B,H,N,D] from f(b, h, n, d).
template <class F>
Tensor<double> by_loops(const Shape& s, F&& f) {
  std::vector<double> y;
  for (index_t b = 0; b < s[0]; ++b)
    for (index_t h = 0; h < s[1]; ++h)
      for (index_t n = 0; n < s[2]; ++n)
        for (index_t d = 0; d < s[3]; ++d) y.push_back(f(b, h, n, d));
  return from_vector(y, s);
}

}  // namespace flr
