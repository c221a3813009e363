// Modules that turn tokens into tokens, behind one type: what a block is put together from at run time.
#pragma once

#include <memory>

#include "flr/nn.hpp"

namespace flr::models {

/// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] tells padding (0) from tokens (1).
template <Floating T>
class TokenLayer {
 public:
  TokenLayer() = default;
  virtual ~TokenLayer() = default;
  TokenLayer(const TokenLayer&) = delete;
  TokenLayer& operator=(const TokenLayer&) = delete;

  virtual nn::Module<T>& module() = 0;
  virtual Tensor<T> operator()(const Tensor<T>& x, const Tensor<std::uint8_t>& keep = {}) const = 0;
  /// With activations in bf16, where T is float.
  virtual Tensor<bf16> operator()(const Tensor<bf16>& x,
                                  const Tensor<std::uint8_t>& keep = {}) const = 0;
};

/// What a layer does with padding.
enum class Padding : unsigned char {
  masked,    ///< the module takes `keep` itself
  separate,  ///< each token is mapped by itself, so padding cannot matter
};

namespace detail {

template <Floating T, class M, Padding padding>
class TokenLayerOf final : public TokenLayer<T> {
 public:
  template <class... Args>
  explicit TokenLayerOf(Args&&... args) : module_(std::forward<Args>(args)...) {}

  nn::Module<T>& module() override { return module_; }
  Tensor<T> operator()(const Tensor<T>& x, const Tensor<std::uint8_t>& keep) const override {
    return run(x, keep);
  }
  Tensor<bf16> operator()(const Tensor<bf16>& x, const Tensor<std::uint8_t>& keep) const override {
    if constexpr (std::same_as<T, float>) return run(x, keep);
    else fail("[lra] activations in bf16 go with parameters in float");
  }

 private:
  template <Floating A>
  Tensor<A> run(const Tensor<A>& x, const Tensor<std::uint8_t>& keep) const {
    if constexpr (padding == Padding::separate) return module_(x);
    else return module_(x, keep);
  }
  M module_;
};

}  // namespace detail

/// A mixer M, which is called as m(x, keep), from the arguments of its constructor.
template <Floating T, class M, class... Args>
std::unique_ptr<TokenLayer<T>> mixer_layer(Args&&... args) {
  return std::make_unique<detail::TokenLayerOf<T, M, Padding::masked>>(std::forward<Args>(args)...);
}

/// A module M that maps each token by itself, which is called as m(x).
template <Floating T, class M, class... Args>
std::unique_ptr<TokenLayer<T>> pointwise_layer(Args&&... args) {
  return std::make_unique<detail::TokenLayerOf<T, M, Padding::separate>>(
      std::forward<Args>(args)...);
}

}  // namespace flr::models
