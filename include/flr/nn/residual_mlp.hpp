// FLARE's residual MLP as a module.
#pragma once

#include "flr/nn/linear.hpp"

namespace flr::nn {

/// fc1: in → hidden, `layers` residual layers fcs.i: hidden → hidden, fc2: hidden → out
/// (ops/residual_mlp.hpp). layers = −1 is a single layer fc: in → out, which adds x if both
/// residuals are asked for and in = out.
template <Floating T>
class ResidualMLP : public Module<T> {
 public:
  ResidualMLP(index_t in, index_t hidden, index_t out, int layers, ResidualMlpOptions options = {})
      : options_(options) {
    check(layers >= -1 && layers <= 64, "[ResidualMLP] expected -1 to 64 layers, got {}", layers);
    if (layers < 0) {
      add("fc", in, out);
      return;
    }
    add("fc1", in, hidden);
    for (int i = 0; i < layers; ++i) add("fcs." + std::to_string(i), hidden, hidden);
    add("fc2", hidden, out);
  }

  /// x [.., in] → [.., out].
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x) const {
    if (!this->recomputes_mlps()) return run(x);
    return recompute([this](const Tensor<A>& t) { return run(t); }, x);
  }

 private:
  template <Floating A>
  Tensor<A> run(const Tensor<A>& x) const {
    if (layers_.size() == 1) {
      const Tensor<A> y = (*layers_[0])(x);
      const bool residual = options_.residual_in && options_.residual_out;
      return residual && y.size(-1) == x.size(-1) ? y + x : y;
    }
    std::vector<Tensor<A>> w, b;
    for (const auto& layer : layers_) {
      w.push_back(layer->template weight_as<A>());
      b.push_back(layer->template bias_as<A>());
    }
    return residual_mlp(x, w, b, options_);
  }

  void add(const std::string& name, index_t in, index_t out) {
    layers_.push_back(std::make_unique<Linear<T>>(in, out));
    this->add_child(name, *layers_.back());
  }

  ResidualMlpOptions options_;
  std::vector<std::unique_ptr<Linear<T>>> layers_;
};

}  // namespace flr::nn
