// The dense layer as a module.
#pragma once

#include "flr/nn/init.hpp"

namespace flr::nn {

/// y = act(x weightᵀ + bias); weight [out, in], bias [out]. Starts as PyTorch's: U(±1/√in). A layer
/// whose weight has a start of its own, which a model's initialiser must leave alone, gives it
/// Role::other.
template <Floating T>
class Linear : public Module<T> {
 public:
  Linear(index_t in, index_t out, bool with_bias = true, Role role = Role::weight)
      : weight(this->add_parameter("weight", {out, in}, role)) {
    kaiming_uniform(weight);
    if (!with_bias) return;
    bias = this->add_parameter("bias", {out}, Role::bias);
    uniform(bias, 1 / std::sqrt(static_cast<double>(in)));
  }

  /// x [.., in] → [.., out].
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, Activation act = Activation::identity) const {
    return linear(x, weight_as<A>(), bias_as<A>(), act);
  }
  template <Floating A>
  Tensor<A> weight_as() const {
    return this->template parameter_as<A>(weight);
  }
  template <Floating A>
  Tensor<A> bias_as() const {
    return this->template parameter_as<A>(bias);
  }

  Tensor<T> weight, bias;
};

}  // namespace flr::nn
