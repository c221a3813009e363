// The GPU against the CPU in double: values and every gradient of a function of tensors.
//
// Inputs are drawn afresh, rounded to the type under test, and given to both sides. float and double
// have a tolerance; bf16 may have at most twice the error of the plain algorithm in bf16 on the CPU.
// Every call runs twice on the GPU and must give the same bits.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "flr/cuda/cuda.hpp"
#include "flr/flr.hpp"

namespace cuda_test {

using namespace flr;

/// Smaller sizes, for the sanitizers.
inline bool small() {
  const char* text = std::getenv("FLR_TEST_SMALL");
  return text && std::string(text) == "1";
}

/// Values and gradients of one run, as doubles.
struct Outcome {
  std::vector<std::vector<double>> tensors;  ///< the result, then a gradient for each input
};

template <class T>
std::vector<double> doubles(const Tensor<T>& x) {
  std::vector<double> out;
  for (T v : x.to_vector()) out.push_back(static_cast<double>(v));
  return out;
}

/// Element i of the gradient that every backward pass starts from.
inline double seed_of(index_t i) { return std::sin(0.7 * double(i) + 0.3); }

/// Inputs that are undefined stay so; those beyond `differentiable` carry no gradient.
template <class T, class F>
Outcome run(F&& f, const std::vector<Tensor<double>>& inputs, std::size_t differentiable,
            Device device) {
  std::vector<Tensor<T>> x;
  for (const Tensor<double>& t : inputs) {
    if (!t.defined()) {
      x.emplace_back();
      continue;
    }
    x.push_back(t.template to<T>().to(device));
    if (x.size() <= differentiable) x.back() = x.back().clone().requires_grad(true);
  }
  auto y = f(x);
  using Y = typename decltype(y)::value_type;
  Outcome out;
  out.tensors.push_back(doubles(y));
  if (!y.requires_grad()) return out;
  std::vector<Y> seed;
  for (index_t i = 0; i < y.numel(); ++i)
    seed.push_back(static_cast<Y>(static_cast<compute_t<Y>>(seed_of(i))));
  backward(y, from_vector(seed, y.shape(), device));
  for (std::size_t i = 0; i < differentiable && i < x.size(); ++i)
    if (x[i].defined()) out.tensors.push_back(doubles(x[i].grad()));
  return out;
}

inline double norm_of(const std::vector<double>& a) {
  double sum = 0;
  for (double v : a) sum += std::isfinite(v) ? v * v : 0;
  return std::sqrt(sum);
}

/// ‖a − b‖/scale; infinite where one of them is not a number and the other is.
inline double relative(const std::vector<double>& a, const std::vector<double>& b, double scale) {
  REQUIRE(a.size() == b.size());
  double difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    const double d = a[i] - b[i];
    if (!std::isfinite(d)) return INFINITY;
    difference += d * d;
  }
  return difference == 0 ? 0 : std::sqrt(difference) / scale;
}
inline double relative(const std::vector<double>& a, const std::vector<double>& b) {
  return relative(a, b, norm_of(b));
}

struct Rule {
  std::size_t differentiable = 99;  ///< inputs beyond these carry no gradient
  double float_tolerance = 0;       ///< 0: the usual one
  /// Products of tf32, whose operands keep three bits more than bf16 does: floats may have an eighth
  /// of what is allowed to bf16.
  bool tf32 = false;
  /// For the result and each gradient, the norm of the terms whose sum it is; 0 or missing where
  /// they do not cancel. Nobody can give a sum more exactly than its terms are rounded: where the
  /// terms are larger than the sum, the error counts relative to them.
  std::vector<double> terms = {};
};

/// Compares f on the GPU in T. `f` takes a vector of tensors of any scalar type and gives one tensor;
/// `plain` is the same in the steps that a program without f would take, each rounded to T.
template <class T, class F, class P>
void compare(const std::string& what, F&& f, P&& plain, std::vector<Tensor<double>> inputs,
             const Rule& rule) {
  const std::string type = name_of(dtype_of<T>);
  CAPTURE(what);
  CAPTURE(type);
  for (auto& t : inputs)
    if (t.defined()) t = t.template to<T>().template to<double>();
  const Outcome expected = run<double>(f, inputs, rule.differentiable, Device::cpu);
  const Outcome got = run<T>(f, inputs, rule.differentiable, Device::cuda);
  const Outcome again = run<T>(f, inputs, rule.differentiable, Device::cuda);
  Outcome rounded;
  if constexpr (!std::same_as<T, double>)
    if (std::same_as<T, bf16> || rule.tf32)
      rounded = run<bf16>(plain, inputs, rule.differentiable, Device::cpu);
  REQUIRE(got.tensors.size() == expected.tensors.size());
  // Gradients may cancel (all of them, behind a softmax over one key): a tenth of what the largest
  // one has counts as their scale.
  double largest = 0;
  for (std::size_t i = 1; i < expected.tensors.size(); ++i)
    largest = std::max(largest, norm_of(expected.tensors[i]));
  for (std::size_t i = 0; i < expected.tensors.size(); ++i) {
    const std::string part = i == 0 ? "result" : "gradient " + std::to_string(i - 1);
    CAPTURE(part);
    const double terms = i < rule.terms.size() ? rule.terms[i] : 0;
    const double scale = std::max(norm_of(expected.tensors[i]) + (i == 0 ? 0 : 0.1 * largest), terms);
    const double error = relative(got.tensors[i], expected.tensors[i], scale);
    double allowed = std::same_as<T, double> ? 1e-12 : 5e-6;
    if constexpr (std::same_as<T, float>)
      if (rule.float_tolerance > 0) allowed = rule.float_tolerance;
    if (!rounded.tensors.empty()) {
      const double plainly = 2 * relative(rounded.tensors[i], expected.tensors[i], scale);
      allowed = std::same_as<T, bf16> ? std::max(8e-3, plainly) : std::max(allowed, plainly / 8);
    }
    CHECK(error <= allowed);
    const bool same_bits = relative(again.tensors[i], got.tensors[i]) == 0;
    CHECK(same_bits);
  }
}

/// The same for float, double and bf16.
template <class F, class P>
void compare_with_plain(const std::string& what, F&& f, P&& plain,
                        const std::vector<Tensor<double>>& inputs, const Rule& rule = {}) {
  compare<float>(what, f, plain, inputs, rule);
  compare<double>(what, f, plain, inputs, rule);
  compare<bf16>(what, f, plain, inputs, rule);
}
/// Where the CPU's f rounds as often as the plain algorithm does.
template <class F>
void compare_all(const std::string& what, F&& f, const std::vector<Tensor<double>>& inputs,
                 const Rule& rule = {}) {
  compare_with_plain(what, f, f, inputs, rule);
}
template <class F>
void compare_all(const std::string& what, F&& f, const std::vector<Tensor<double>>& inputs,
                 std::size_t differentiable, double float_tolerance = 0) {
  compare_all(what, f, inputs, Rule{differentiable, float_tolerance});
}

inline Tensor<double> draw(const Shape& shape, double scale = 1) { return randn<double>(shape) * scale; }

}  // namespace cuda_test
