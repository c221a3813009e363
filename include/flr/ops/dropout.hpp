// Dropout: elements vanish with probability p, the others are scaled by 1/(1 − p).
//
// The mask is a function of (seed, step, call, element), so backward makes it again instead of
// saving it, and recompute gives the same one.
#pragma once

#include "flr/ops/views.hpp"

namespace flr {

/// Draws its mask from the random state. Not in training, or p = 0: returns x.
template <Floating T>
Tensor<T> dropout(const Tensor<T>& x_in, double p, bool training = true) {
  check(p >= 0 && p < 1, "[dropout] expected a probability in [0, 1), got {}", p);
  if (!training || p == 0) return x_in;
  const Tensor<T> x = contiguous(x_in);
  const RandomState d = detail::next_draw();
  auto y = Tensor<T>::empty(x.shape(), x.device());
  const DropoutParams<T> params{x.numel(), p, d.seed, d.step, d.call, x.data(), y.mutable_data(),
                                false};
  backend<T>(x.device()).dropout(params);
  if (recording(x))
    record("dropout", y, Inputs(x), [params](Backward& b) {
      const Tensor<T> dy = b.grad<T>();
      auto dx = b.target<T>(0);
      DropoutParams<T> back = params;
      back.x = dy.data(), back.y = dx.data(), back.accumulate = dx.accumulate();
      backend<T>(dy.device()).dropout(back);
    });
  return y;
}

}  // namespace flr
