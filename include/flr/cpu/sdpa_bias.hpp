// The gradient of an additive attention bias: dbias = dS, summed over the axes along which the bias
// was broadcast.
//
// Biases are small or rare beside attention itself, so their gradient has a pass of its own, plain
// and ordered: a task owns whole rows of the bias (or its only row) and walks everything that was
// broadcast onto it in order.
#pragma once

#include "flr/cpu/sdpa_tile.hpp"

FLR_CPU_BEGIN
namespace sdpa_cpu {

template <class T>
void sdpa_bias_gradient(const SdpaBackwardParams<T>& p) {
  const SdpaParams<T>& f = p.f;
  const index_t bs = f.bias_s.batch ? f.B : 1, hs = f.bias_s.head ? f.H : 1;
  const index_t rows = f.bias_s.row ? f.Nq : 1, cols = f.bias_col ? f.Nk : 1;
  const double infinity = std::numeric_limits<double>::infinity();
  parallel_for(bs * hs * rows, [&](index_t task) {
    const index_t row = task % rows, h0 = task / rows % hs, b0 = task / rows / hs;
    detail::Scratch<double> sum(cols);
    for (index_t j = 0; j < cols; ++j) sum[j] = 0;
    for (index_t b = b0; b < (bs == 1 ? f.B : b0 + 1); ++b)
      for (index_t h = h0; h < (hs == 1 ? f.H : h0 + 1); ++h) {
        const ScoreRules<T> rules(f, b, h);
        for (index_t i = row; i < (rows == 1 ? f.Nq : row + 1); ++i) {
          const double lse = static_cast<double>(f.lse[(b * f.H + h) * f.Nq + i]);
          if (lse == -infinity) continue;
          const T* q = f.q + b * f.qs.batch + h * f.qs.head + i * f.qs.row;
          const T* y = f.o + b * f.os.batch + h * f.os.head + i * f.os.row;
          const T* dy = p.dout + b * p.dos.batch + h * p.dos.head + i * p.dos.row;
          double delta = 0;
          for (index_t d = 0; d < f.Dv; ++d) delta += static_cast<double>(y[d]) * dy[d];
          for (index_t j = 0; j < f.Nk; ++j) {
            if (rules.keep && !rules.keep[j]) continue;
            if (rules.beyond(j, i + 1)) break;
            const T* k = f.k + b * f.ks.batch + h * f.ks.head + j * f.ks.row;
            const T* v = f.v + b * f.vs.batch + h * f.vs.head + j * f.vs.row;
            double s = 0, dp = 0;
            for (index_t d = 0; d < f.D; ++d) s += static_cast<double>(q[d]) * k[d];
            for (index_t d = 0; d < f.Dv; ++d) dp += static_cast<double>(dy[d]) * v[d];
            s = s * f.scale + rules.bias[i * rules.bias_row + j * rules.bias_col];
            sum[cols == 1 ? 0 : j] += std::exp(s - lse) * (dp - delta);
          }
        }
      }
    T* to = p.dbias + b0 * f.bias_s.batch + h0 * f.bias_s.head + row * f.bias_s.row;
    for (index_t j = 0; j < cols; ++j) {
      T& place = to[j * f.bias_col];
      place = static_cast<T>(p.dbias_mode == GradMode::accumulate ? place + sum[j] : sum[j]);
    }
  });
}

}  // namespace sdpa_cpu
FLR_CPU_END
