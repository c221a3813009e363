// gradcheck: every gradient of a function against central differences.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "flr/graph/backward.hpp"

namespace flr {

struct GradcheckOptions {
  double step = 1e-5;       ///< h of the differences
  double tolerance = 1e-6;  ///< on |difference| / (1 + |gradient|)
};

struct GradcheckResult {
  double worst = 0;       ///< the largest |difference| / (1 + |gradient|) seen
  std::string where;      ///< input and element of it
  bool ok = false;
  explicit operator bool() const { return ok; }
};

/// Checks the gradient of fn(x₀, …) with respect to every input, in double. fn takes the vector of
/// inputs and returns a tensor of any shape, which is contracted with a fixed random seed tensor.
/// The differences use two steps and extrapolate (Richardson), so their error is O(h⁴).
template <class F>
GradcheckResult gradcheck(F&& fn, std::vector<Tensor<double>> x, GradcheckOptions options = {}) {
  for (auto& t : x) t = t.clone().requires_grad(true);
  const RandomState start = random_state();
  Tensor<double> y = fn(x);
  random_state() = {12345, 0, 0};
  const Tensor<double> seed = randn<double>(y.shape());
  random_state() = start;
  if (y.requires_grad()) backward(y, seed);
  const std::vector<double> weight = seed.to_vector();

  const auto value = [&] {
    NoGrad scope;
    random_state() = start;
    const std::vector<double> values = fn(x).to_vector();
    double total = 0;
    for (std::size_t i = 0; i < values.size(); ++i) total += values[i] * weight[i];
    return total;
  };
  GradcheckResult result;
  for (std::size_t k = 0; k < x.size(); ++k) {
    const std::vector<double> gradient = x[k].grad().to_vector();
    for (index_t i = 0; i < x[k].numel(); ++i) {
      double* element = x[k].mutable_data() + i;
      const double original = *element;
      const auto slope = [&](double h) {
        *element = original + h;
        const double up = value();
        *element = original - h;
        const double down = value();
        *element = original;
        return (up - down) / (2 * h);
      };
      const double h = options.step * (1 + std::abs(original));
      const double difference = (4 * slope(h) - slope(2 * h)) / 3;
      const double g = gradient[static_cast<std::size_t>(i)];
      const double error = std::abs(difference - g) / (1 + std::abs(g));
      if (!(error <= result.worst)) {
        result.worst = error;
        result.where = fmt::format("input {}, element {}: gradient {:.10g}, difference {:.10g}", k,
                                   i, g, difference);
      }
    }
  }
  random_state() = start;
  result.ok = result.worst <= options.tolerance;
  return result;
}

}  // namespace flr
