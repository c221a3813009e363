// Lion (Chen et al., arXiv 2302.06675).
#pragma once

#include "flr/optim/optimizer.hpp"

namespace flr::optim {

struct LionOptions {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
  /// The reference's variant: m ← β₁m + (1−β₁)(g + λp), p ← p − lr·sign(m).
  bool legacy = false;
  GroupOptions groups = {};
};

/// u = sign(β₁m + (1−β₁)g), p ← p − lr(u + λp), m ← β₂m + (1−β₂)g.
template <Floating T>
class Lion : public Optimizer<T> {
 public:
  Lion(nn::Module<T>& module, LionOptions o)
      : Optimizer<T>(module, {o.lr, o.beta1, o.beta2, o.weight_decay}, o.groups),
        legacy_(o.legacy), m_(this->new_state()) {}

  std::vector<NamedState<T>> state() override { return {{"exp_avg", m_}}; }

 protected:
  void update() override {
    UpdateParams<T> p;
    p.rule = legacy_ ? UpdateRule::lion_legacy : UpdateRule::lion;
    p.m = m_.mutable_data();
    this->update_all(p, this->arena().gradients.data());
  }

 private:
  bool legacy_;
  Tensor<T> m_;
};

}  // namespace flr::optim
