// FLARE's residual MLP as a module.
#pragma once

#include "flr/nn/linear.hpp"
#include "flr/ops/concat.hpp"

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
    return run_or_recompute(x, 1);
  }
  /// The same in bf16 for inputs that bf16 is too coarse for, such as coordinates, of which it has
  /// 128 between ½ and 1. Each goes in as two bf16 numbers that add up to it, 16 bits, both with
  /// its column of the first weight.
  Tensor<bf16> in_bf16(const Tensor<T>& x) const {
    const Tensor<bf16> high = x.template to<bf16>();
    if (options_.residual_in) return (*this)(high);  // x itself is wanted there
    const Tensor<bf16> low = (x - high.template to<T>()).template to<bf16>();
    return run_or_recompute(concat<bf16>({high, low}, -1), 2);
  }

 private:
  template <Floating A>
  Tensor<A> run_or_recompute(const Tensor<A>& x, int pieces) const {
    if (!this->recomputes_mlps()) return run(x, pieces);
    return recompute([this, pieces](const Tensor<A>& t) { return run(t, pieces); }, x);
  }
  template <Floating A>
  Tensor<A> run(const Tensor<A>& x, int pieces) const {
    std::vector<Tensor<A>> w, b;
    for (const auto& layer : layers_) {
      w.push_back(layer->template weight_as<A>());
      b.push_back(layer->template bias_as<A>());
    }
    if (pieces == 2) w[0] = concat<A>({w[0], w[0]}, 1);
    if (layers_.size() > 1) return residual_mlp(x, w, b, options_);
    const Tensor<A> y = linear(x, w[0], b[0]);
    const bool residual = options_.residual_in && options_.residual_out;
    return residual && y.size(-1) == x.size(-1) ? y + x : y;
  }

  void add(const std::string& name, index_t in, index_t out) {
    layers_.push_back(std::make_unique<Linear<T>>(in, out));
    this->add_child(name, *layers_.back());
  }

  ResidualMlpOptions options_;
  std::vector<std::unique_ptr<Linear<T>>> layers_;
};

}  // namespace flr::nn
