// The feature maps of linear attention in double, and their slopes by differences.
#pragma once

#include <algorithm>
#include <cmath>

#include "flr/core/feature.hpp"

namespace flr {

inline double feature(Feature map, double x) {
  switch (map) {
    case Feature::identity: return x;
    case Feature::relu: return std::max(x, 0.0);
    case Feature::relu_squared: return std::max(x, 0.0) * std::max(x, 0.0);
    case Feature::silu: return x / (1 + std::exp(-x)) + 0.5;
    case Feature::elu: return x > 0 ? x + 1 : std::exp(x);
    case Feature::sigmoid: return 1 / (1 + std::exp(-x));
    case Feature::tanh: return std::tanh(x);
    case Feature::softplus: return std::log1p(std::exp(x)) + 1e-6;
    case Feature::softsign: return x / (1 + std::abs(x));
    case Feature::exp: return std::exp(std::clamp(x, -30.0, 30.0));
    case Feature::gelu: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  }
  return x;
}
/// By a difference: nothing of the kernels' formulas.
inline double slope(Feature map, double x) {
  const double h = 1e-6;
  return (feature(map, x + h) - feature(map, x - h)) / (2 * h);
}

}  // namespace flr
