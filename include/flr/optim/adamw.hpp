// AdamW (Loshchilov & Hutter 2019) and Adam with L2 decay (Kingma & Ba 2015).
#pragma once

#include "flr/optim/optimizer.hpp"

namespace flr::optim {

struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  GroupOptions groups = {};
};

/// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², p ← p − lr·λp − lr·m̂/(√v̂ + ε).
template <Floating T>
class AdamW : public Optimizer<T> {
 public:
  AdamW(nn::Module<T>& module, AdamOptions o) : AdamW(module, o, UpdateRule::adamw) {}

  std::vector<NamedState<T>> state() override { return {{"exp_avg", m_}, {"exp_avg_sq", v_}}; }

 protected:
  AdamW(nn::Module<T>& module, AdamOptions o, UpdateRule rule)
      : Optimizer<T>(module, {o.lr, o.beta1, o.beta2, o.weight_decay}, o.groups),
        eps_(o.eps), rule_(rule), m_(this->new_state()), v_(this->new_state()) {}

  void update() override {
    UpdateParams<T> p;
    p.rule = rule_;
    p.eps = eps_;
    p.m = m_.mutable_data(), p.v = v_.mutable_data();
    this->update_all(p, this->arena().gradients.data());
  }

 private:
  double eps_;
  UpdateRule rule_;
  Tensor<T> m_, v_;
};

/// The same moments, with the decay added to the gradient: g ← g + λp.
template <Floating T>
class Adam : public AdamW<T> {
 public:
  Adam(nn::Module<T>& module, AdamOptions o) : AdamW<T>(module, o, UpdateRule::adam_l2) {}
};

}  // namespace flr::optim
