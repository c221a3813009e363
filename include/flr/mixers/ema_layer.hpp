// MEGA's exponential moving average as a module (Ma et al. 2022, arXiv 2209.10655, §3 and its
// code): every channel smoothed in both directions with several rates.
//
//   s_j[t] = α_j β_j x[t] + (1 − α_j δ_j) s_j[t−1],  y[t] = order^−½ Σ_j η_j s_j[t];
//   e = silu(y→ + y← + ω x), with parameters of its own for each direction
// legacy is the reference's layer: β in (0, 1) too, no order^−½, the same parameters in both
// directions, e = W [y→ | y←] + b. (Its cumulative sums fail beyond some 200 tokens; these
// do not.)
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

struct EmaOptions {
  index_t channels = 64, order = 16;
  bool legacy = false;
};

/// Parameters [2C, order], forward rates before backward ones; legacy: [C, order].
template <Floating T>
class EmaLayer : public nn::Module<T> {
 public:
  explicit EmaLayer(const EmaOptions& o) : o_(o) {
    check(o.channels > 0 && o.order > 0, "[ema] expected channels and an order, got {} and {}",
          o.channels, o.order);
    const Shape shape{o.legacy ? o.channels : 2 * o.channels, o.order};
    const auto make = [&](const std::string& name, double std) {
      auto p = this->add_parameter(name, shape, nn::Role::other);
      if (std > 0) nn::normal(p, std);
      return p;
    };
    alpha = make("alpha_logits", o.legacy ? 0 : 0.2);
    delta = make("delta_logits", o.legacy ? 0 : 0.2);
    beta = make(o.legacy ? "beta_logits" : "beta", o.legacy ? 0 : 0.02);
    eta = make("eta", o.legacy ? 0.02 : 1);
    if (o.legacy) {
      proj_ = std::make_unique<nn::Linear<T>>(2 * o.channels, o.channels);
      this->add_child("proj", *proj_);
      return;
    }
    NoGrad scope;  // Components start with alternating signs.
    for (index_t j = 0; j < o.order; ++j) {
      Tensor<T> column = slice(beta, 1, j, j + 1);
      column.copy_(column + (j % 2 ? T(-1) : T(1)));
    }
    omega = this->add_parameter("omega", {o.channels}, nn::Role::other);
    nn::normal(omega, 1);
  }

  /// x [B,N,C] → [B,N,C]. Padding in x must be zeros.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x) const {
    const Tensor<T> decay = map(1.0 - sigmoid(_1) * sigmoid(_2), alpha, delta);
    if (o_.legacy) {
      const Tensor<T> weight = map(sigmoid(_1) * sigmoid(_2) * _3, alpha, beta, eta);
      return (*proj_)(
          concat<A>({damped_ema(x, decay, weight), damped_ema(x, decay, weight, true)}, 2));
    }
    const double scale = 1 / std::sqrt(static_cast<double>(o_.order));
    const auto weights = chunk(map(sigmoid(_1) * _2 * _3 * scale, alpha, beta, eta), 2, 0);
    const auto decays = chunk(decay, 2, 0);
    return map(silu(_1 + _2 + _3 * _4), damped_ema(x, decays[0], weights[0]),
               damped_ema(x, decays[1], weights[1], true), x,
               this->template parameter_as<A>(omega));
  }

 private:
  EmaOptions o_;
  std::unique_ptr<nn::Linear<T>> proj_;

 public:
  Tensor<T> alpha, delta;  ///< logits
  Tensor<T> beta;          ///< legacy: logits
  Tensor<T> eta, omega;
};

}  // namespace flr::mixers
