// Initialisers. All draw from the random state.
#pragma once

#include <cmath>

#include "flr/nn/module.hpp"

namespace flr::nn {

template <Floating T>
void fill(Tensor<T> x, double value) {
  x.fill_(static_cast<T>(static_cast<compute_t<T>>(value)));
}

/// N(0, std²).
template <Floating T>
void normal(Tensor<T> x, double std) {
  NoGrad scope;
  x.copy_(randn<T>(x.shape()) * static_cast<compute_t<T>>(std));
}

/// U(−bound, bound).
template <Floating T>
void uniform(Tensor<T> x, double bound) {
  NoGrad scope;
  x.copy_(map((2.0 * _1 - 1.0) * bound, rand<T>(x.shape())));
}

/// N(0, std²) cut at ±limit (absolute), by drawing again.
template <Floating T>
void truncated_normal(Tensor<T> x, double std, double limit = 2) {
  std::vector<T> values = randn<T>(x.shape()).to_vector();
  for (T& v : values)
    while (std::abs(static_cast<double>(v) * std) > limit) v = randn<T>({1}).item();
  NoGrad scope;
  x.copy_(from_vector(values, x.shape()) * static_cast<compute_t<T>>(std));
}

/// The identity [n, n].
template <Floating T>
void identity(Tensor<T> x) {
  check(x.rank() == 2 && x.size(0) == x.size(1), "[identity] expected a square matrix, got {}",
        x.shape());
  std::vector<T> values(static_cast<std::size_t>(x.numel()), T(0.0f));
  for (index_t i = 0; i < x.size(0); ++i)
    values[static_cast<std::size_t>(i * (x.size(0) + 1))] = T(1.0f);
  x.copy_(from_vector(values, x.shape()));
}

/// PyTorch's default for Linear and Conv weights [out, in, …]: U(±1/√fan_in).
template <Floating T>
void kaiming_uniform(Tensor<T> x) {
  uniform(x, 1 / std::sqrt(static_cast<double>(x.numel() / x.size(0))));
}

/// U(±√(6/(fan_in + fan_out))) (Glorot & Bengio 2010).
template <Floating T>
void xavier_uniform(Tensor<T> x) {
  const double receptive = static_cast<double>(x.numel() / (x.size(0) * x.size(1)));
  uniform(x, std::sqrt(6 / (receptive * static_cast<double>(x.size(0) + x.size(1)))));
}

/// The initialisation of FLARE and the transformer: weights N(0, 0.02), biases 0. Norms keep 1 and
/// 0, latents what their module drew.
template <Floating T>
void init_flare(Module<T>& module) {
  for (auto& p : module.parameters()) {
    if (p.role == Role::weight || p.role == Role::embedding) normal(p.value, 0.02);
    if (p.role == Role::bias) fill(p.value, 0);
  }
}

/// The initialisation of Transolver and its kin: weights truncated N(0, 0.02), biases 0.
template <Floating T>
void init_truncated(Module<T>& module) {
  for (auto& p : module.parameters()) {
    if (p.role == Role::weight) truncated_normal(p.value, 0.02);
    if (p.role == Role::bias) fill(p.value, 0);
  }
}

}  // namespace flr::nn
