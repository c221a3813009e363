// Feature maps of linear attention: φ with φ(q)·φ(k) in place of exp(q·k).
#pragma once

#include <optional>
#include <string_view>

#include "flr/nn.hpp"

namespace flr::mixers {

/// The first fourteen act element by element (elu_norm: on the token's unit vector); the last three
/// are learnt.
enum class FeatureMap : unsigned char {
  identity,      ///< x; the denominator of linear attention may then vanish or change its sign
  relu,          ///< max(x, 0)
  relu_squared,  ///< max(x, 0)²
  silu,          ///< x σ(x) + ½
  elu,           ///< elu(x) + 1 (Katharopoulos et al. 2020)
  elu_norm,      ///< elu(x/‖x‖) + 1
  gelu,          ///< x Φ(x)
  tanh,
  softplus,  ///< log(1 + eˣ) + 1e-6
  softsign,  ///< x/(1 + |x|)
  sigmoid,
  exp,  ///< of x cut to ±30
  cos,
  sin,
  hadamard,  ///< (W₁x + b₁) ∘ (W₂x + b₂)
  swiglu,    ///< W₃(a ∘ silu(b)) + b₃, where [a|b] = W₁x + b₁
  hedgehog,  ///< softmax([2y|−2y]), y = Wx + b from W = 1 (Zhang et al. 2024)
};

inline constexpr std::string_view feature_map_names[] = {
    "identity", "relu",     "relu_squared", "silu", "elu", "elu_norm", "gelu",   "tanh",    "softplus",
    "softsign", "sigmoid",  "exp",          "cos",  "sin", "hadamard", "swiglu", "hedgehog"};

inline std::string_view name_of(FeatureMap map) {
  return feature_map_names[static_cast<int>(map)];
}

/// The feature map of a name; an error lists the names.
inline FeatureMap feature_map_named(std::string_view name) {
  std::string list;
  for (int i = 0; i <= static_cast<int>(FeatureMap::hedgehog); ++i) {
    if (feature_map_names[i] == name) return static_cast<FeatureMap>(i);
    list += (i ? ", " : "") + std::string(feature_map_names[i]);
  }
  fail("[feature map] there is no '{}'; expected one of {}", name, list);
}

/// The feature map as kernels of linear attention apply it; none for those that they do not have.
inline std::optional<Feature> fused_feature(FeatureMap map) {
  switch (map) {
    case FeatureMap::identity: return Feature::identity;
    case FeatureMap::relu: return Feature::relu;
    case FeatureMap::relu_squared: return Feature::relu_squared;
    case FeatureMap::silu: return Feature::silu;
    case FeatureMap::elu: return Feature::elu;
    case FeatureMap::sigmoid: return Feature::sigmoid;
    case FeatureMap::tanh: return Feature::tanh;
    case FeatureMap::softplus: return Feature::softplus;
    case FeatureMap::softsign: return Feature::softsign;
    case FeatureMap::exp: return Feature::exp;
    case FeatureMap::gelu: return Feature::gelu;
    default: return std::nullopt;
  }
}

/// x over the length of its last axis: x/(‖x‖ + 1e-6).
template <Floating T>
Tensor<T> unit_vectors(const Tensor<T>& x) {
  // The root of an exact zero (padding without a bias) would have an infinite slope.
  return map(_1 / (sqrt(max(_2, 1e-30)) + 1e-6), x, sum(square(x), {-1}, true));
}

/// A feature map on heads [.., D].
template <Floating T>
class FeatureMapLayer : public nn::Module<T> {
 public:
  FeatureMapLayer(FeatureMap kind, index_t head_dim) : kind_(kind) {
    const auto layer = [&](const char* name, index_t out, nn::Role role = nn::Role::weight) {
      layers_.push_back(std::make_unique<nn::Linear<T>>(head_dim, out, true, role));
      this->add_child(name, *layers_.back());
    };
    if (kind == FeatureMap::hadamard) layer("layer1", head_dim), layer("layer2", head_dim);
    if (kind == FeatureMap::swiglu) layer("layer1", 2 * head_dim), layer("layer3", head_dim);
    if (kind == FeatureMap::hedgehog) {
      // The reference lets the model's initialiser overwrite this start (and fails before that).
      layer("layer", head_dim, nn::Role::other);
      nn::identity(layers_[0]->weight);
      nn::fill(layers_[0]->bias, 0);
    }
  }

  /// x [.., D] → [.., D], by hedgehog [.., 2D].
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x) const;

 private:
  FeatureMap kind_;
  std::vector<std::unique_ptr<nn::Linear<T>>> layers_;
};

template <Floating T>
template <Floating A>
Tensor<A> FeatureMapLayer<T>::operator()(const Tensor<A>& x) const {
  switch (kind_) {
    case FeatureMap::identity: return x;
    case FeatureMap::relu: return relu(x);
    case FeatureMap::relu_squared: return map(square(relu(_1)), x);
    case FeatureMap::silu: return map(silu(_1) + 0.5, x);
    case FeatureMap::elu: return map(elu(_1) + 1.0, x);
    case FeatureMap::elu_norm:
      return map(elu(_1 / sqrt(max(_2, 1e-12))) + 1.0, x, sum(square(x), {-1}, true));
    case FeatureMap::gelu: return gelu(x);
    case FeatureMap::tanh: return tanh(x);
    case FeatureMap::softplus: return map(softplus(_1) + 1e-6, x);
    case FeatureMap::softsign: return map(_1 / (1.0 + abs(_1)), x);
    case FeatureMap::sigmoid: return sigmoid(x);
    case FeatureMap::exp: return map(exp(min(max(_1, -30.0), 30.0)), x);
    case FeatureMap::cos: return cos(x);
    case FeatureMap::sin: return sin(x);
    case FeatureMap::hadamard: return (*layers_[0])(x) * (*layers_[1])(x);
    case FeatureMap::swiglu: {
      const auto parts = chunk((*layers_[0])(x), 2, -1);
      return (*layers_[1])(map(_1 * silu(_2), parts[0], parts[1]));
    }
    case FeatureMap::hedgehog: {
      const Tensor<A> y = (*layers_[0])(x);
      return softmax(concat<A>({y * 2, y * -2}, -1), -1);
    }
  }
  fail("[feature map] unknown feature map {}", static_cast<int>(kind_));
}

#ifdef FLR_COMPILED_MODELS
extern template Tensor<float> FeatureMapLayer<float>::operator()(const Tensor<float>&) const;
extern template Tensor<bf16> FeatureMapLayer<float>::operator()(const Tensor<bf16>&) const;
extern template Tensor<double> FeatureMapLayer<double>::operator()(const Tensor<double>&) const;
#endif

}  // namespace flr::mixers
