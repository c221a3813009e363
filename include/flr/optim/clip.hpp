// The gradient norm, and clipping by it.
#pragma once

#include "flr/optim/optimizer.hpp"

namespace flr::optim {

/// ‖g‖₂ over all parameters, as the next step sees it. One pass, in a fixed order.
template <Floating T>
double grad_norm(Optimizer<T>& optimizer) {
  optimizer.measure_norm();
  return optimizer.grad_norm() * std::abs(optimizer.grad_scale());
}

/// Scales the next step's gradient by min(1, max_norm/(‖g‖ + 1e-6)) and returns ‖g‖ from before.
/// It waits for the device; a step with hyper.clip set does the same without waiting.
template <Floating T>
double clip_grad_norm(Optimizer<T>& optimizer, double max_norm) {
  const double norm = grad_norm(optimizer);
  if (max_norm > 0 && norm + 1e-6 > max_norm) optimizer.scale_grad(max_norm / (norm + 1e-6));
  return norm;
}

}  // namespace flr::optim
