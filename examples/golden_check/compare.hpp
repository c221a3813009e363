// Norm-wise comparison of computed tensors with those of a fixture.
#pragma once

#include <cmath>
#include <string>

#include "flr/data/safetensors.hpp"
#include "flr/data/tensor_io.hpp"
#include "flr/flr.hpp"

/// Where everything is computed (--device).
inline flr::Device device = flr::Device::cpu;

/// A tensor of a fixture, there.
template <class T>
flr::Tensor<T> on_device(const flr::data::Array& array) {
  return flr::data::to_tensor<T>(array).to(device);
}

/// The worst tensor of a file in one precision.
struct Verdict {
  double worst = 0;        ///< largest ‖Δ‖/‖t‖
  std::string tensor;      ///< of which tensor
  bool ok = true;          ///< every tensor within its tolerance
  std::string first_bad;   ///< the first that is not
};

/// Collects comparisons. In double a tensor may differ by 1e-10·‖t‖; in float by
/// 2e-5·‖t‖ + 2e-6·(norm of all gradients of the file), times `amplified` where a file's arithmetic
/// is known to amplify the rounding of its inputs.
class Comparison {
 public:
  Comparison(bool is_double, double all_gradients, double amplified = 1)
      : relative_(is_double ? 1e-10 : 2e-5 * amplified),
        absolute_(is_double ? 0 : 2e-6 * amplified * all_gradients) {}

  template <class T>
  void add(const std::string& name, const flr::Tensor<T>& got, const flr::data::Array& expected) {
    const std::vector<double> t = expected.convert<double>();
    const std::vector<T> v = got.to_vector();
    flr::check(v.size() == t.size(), "[golden_check] '{}' has {} values, the fixture {}", name,
               v.size(), t.size());
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < t.size(); ++i) {
      // −∞ (the log-sum-exp of a row that sees nothing) must be met exactly.
      if (std::isinf(t[i]) && static_cast<double>(v[i]) == t[i]) continue;
      const double d = static_cast<double>(v[i]) - t[i];
      difference += d * d;
      norm += t[i] * t[i];
    }
    difference = std::sqrt(difference), norm = std::sqrt(norm);
    const double error = norm > 0 ? difference / norm : difference;
    if (verdict.tensor.empty() || !(error <= verdict.worst))
      verdict.worst = error, verdict.tensor = name;
    if (!(difference <= relative_ * norm + absolute_) && verdict.ok) {
      verdict.ok = false;
      verdict.first_bad = name;
    }
  }

  Verdict verdict;

 private:
  double relative_, absolute_;
};

/// The norm of all tensors of a fixture whose names start with one of the prefixes.
inline double norm_of_all(const flr::data::SafeTensors& file, std::initializer_list<const char*> prefixes) {
  double sum = 0;
  for (const auto& [name, array] : file.tensors)
    for (const char* prefix : prefixes)
      if (name.starts_with(prefix))
        for (double v : array.convert<double>()) sum += v * v;
  return std::sqrt(sum);
}

/// One file in one precision. Each throws flr::Error for a fixture that it does not know.
template <class T>
Verdict check_model(const flr::data::SafeTensors& file);
template <class T>
Verdict check_sequence_model(const flr::data::SafeTensors& file);
template <class T>
Verdict check_sdpa(const flr::data::SafeTensors& file);
template <class T>
Verdict check_flare_mixer(const flr::data::SafeTensors& file);
template <class T>
Verdict check_causal(const flr::data::SafeTensors& file);
template <class T>
Verdict check_triple(const flr::data::SafeTensors& file);
template <class T>
Verdict check_optimizer(const flr::data::SafeTensors& file);
/// schedules.json; there is one precision only.
Verdict check_schedules(const std::string& path);
