// Activations in double with their slopes, and a relative error, for tests of layers on emulated warps.
#pragma once

#include <cmath>
#include <numbers>

#include "flr/core/params.hpp"

namespace emulated {

inline double activate(flr::Activation act, double x) {
  using enum flr::Activation;
  if (act == relu) return x > 0 ? x : 0;
  if (act == silu) return x / (1 + std::exp(-x));
  if (act == gelu) return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
/// By a difference: nothing of the kernels' formulas.
inline double slope(flr::Activation act, double x) {
  const double h = 1e-5;
  return (activate(act, x + h) - activate(act, x - h)) / (2 * h);
}

/// ‖got − expected‖ / ‖expected‖, term by term; numbers that are none never pass.
struct Error {
  double difference = 0, expected = 0;
  void add(double got, double want) {
    difference += (got - want) * (got - want), expected += want * want;
  }
  bool below(double bound) const { return std::sqrt(difference) <= bound * std::sqrt(expected); }
};

}  // namespace emulated
