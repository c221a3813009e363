// Stochastic gradient descent with momentum (Sutskever et al. 2013), as PyTorch defines it.
#pragma once

#include "flr/optim/optimizer.hpp"

namespace flr::optim {

struct SgdOptions {
  double lr = 1e-2, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
  GroupOptions groups = {};
};

/// g ← g + λp; m ← μm + (1−dampening)g (m ← g at the first step); p ← p − lr·m, or with Nesterov
/// p ← p − lr·(g + μm).
template <Floating T>
class SGD : public Optimizer<T> {
 public:
  SGD(nn::Module<T>& module, SgdOptions o)
      : Optimizer<T>(module, {o.lr, o.momentum, 0, o.weight_decay}, o.groups), o_(o) {
    check(!o.nesterov || (o.momentum > 0 && o.dampening == 0),
          "[SGD] Nesterov needs momentum and no dampening; got momentum {}, dampening {}",
          o.momentum, o.dampening);
    if (o.momentum > 0) m_ = this->new_state();
  }

  std::vector<NamedState<T>> state() override {
    if (!m_.defined()) return {};
    return {{"momentum_buffer", m_}};
  }

 protected:
  void update() override {
    UpdateParams<T> p;
    p.rule = UpdateRule::sgd;
    p.dampening = o_.dampening, p.nesterov = o_.nesterov;
    p.m = m_.defined() ? m_.mutable_data() : nullptr;
    this->update_all(p, this->arena().gradients.data());
  }

 private:
  SgdOptions o_;
  Tensor<T> m_;
};

}  // namespace flr::optim
