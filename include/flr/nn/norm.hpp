// Layer norm or RMS norm over the last axis, as a module.
#pragma once

#include "flr/nn/module.hpp"

namespace flr::nn {

enum class NormKind : unsigned char { layer, rms };

/// weight [width] starts at 1, bias [width] (layer norm only) at 0. Layer norm has ε = 1e-5; RMS
/// norm the machine epsilon of T, unless one is given.
template <Floating T>
class Norm : public Module<T> {
 public:
  explicit Norm(index_t width, NormKind kind = NormKind::layer, double epsilon = 0)
      : kind_(kind),
        epsilon_(epsilon > 0 ? epsilon : kind == NormKind::layer ? 1e-5 : rms_epsilon<T>),
        weight(this->add_parameter("weight", {width}, Role::norm)) {
    weight.fill_(1);
    if (kind == NormKind::layer) bias = this->add_parameter("bias", {width}, Role::norm);
  }

  /// x of T or, where T is float, of bf16: a norm's own parameters are never rounded.
  template <Floating A>
    requires std::same_as<compute_t<A>, T>
  Tensor<A> operator()(const Tensor<A>& x) const {
    return kind_ == NormKind::layer ? layer_norm(x, weight, bias, epsilon_)
                                    : rms_norm(x, weight, epsilon_);
  }

  /// x + a + rows and its norm (add_layer_norm); a and rows may be undefined.
  template <Floating A>
    requires std::same_as<compute_t<A>, T>
  SumAndNorm<A> of_sum(const Tensor<A>& x, const Tensor<A>& a, const Tensor<A>& rows = {}) const {
    return kind_ == NormKind::layer ? add_layer_norm(x, a, rows, weight, bias, epsilon_)
                                    : add_rms_norm(x, a, rows, weight, epsilon_);
  }

 private:
  NormKind kind_;
  double epsilon_;

 public:
  Tensor<T> weight, bias;
};

}  // namespace flr::nn
