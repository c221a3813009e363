// What all optimisers share: the arena, the groups, and the scalars of a step.
#pragma once

#include <cmath>

#include "flr/optim/groups.hpp"

namespace flr::optim {

/// A named block of optimiser state, for checkpoints.
template <Floating T>
struct NamedState {
  std::string name;
  Tensor<T> value;
};

/// Everything that a schedule may change from step to step.
struct Hyper {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;  ///< beta1 is the momentum of SGD and Muon
  double weight_decay = 0;            ///< of the groups that decay
};

template <Floating T>
class Optimizer {
 public:
  Optimizer(nn::Module<T>& module, Hyper hyper, GroupOptions groups)
      : hyper(hyper), module_(module), ranges_(module.arena(), groups) {}
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Forgets all gradients. No memory is touched; the next backward overwrites.
  void zero_grad() {
    for (auto& e : arena().entries) e.value.zero_grad();
  }

  /// Scales what the next step sees of the gradient (clipping, accumulation). Back to 1 after it.
  void scale_grad(double factor) { grad_scale_ *= factor; }
  double grad_scale() const { return grad_scale_; }

  /// One update from the gradients in the arena. Gradients that backward did not reach count as 0.
  void step() {
    clear_unreached();
    ++steps_;
    update();
    arena().values.impl().storage->bump_version();
    grad_scale_ = 1;
  }

  index_t steps() const { return steps_; }
  void set_steps(index_t steps) { steps_ = steps; }
  /// Moments and the like, to be saved with the weights.
  virtual std::vector<NamedState<T>> state() = 0;

  nn::Arena<T>& arena() { return module_.arena(); }
  nn::Module<T>& module() { return module_; }
  const GroupRanges<T>& groups() const { return ranges_; }

  /// Fills with zeros the gradients that nothing has contributed to since zero_grad().
  void clear_unreached() {
    for (auto& e : arena().entries) {
      Leaf* leaf = flr::detail::leaf_of(e.value.impl());
      if (leaf && leaf->stale(0)) {
        Tensor<T>(leaf->gradient(0)).fill_(0);
        leaf->mark_written(0);
      }
    }
  }

  Hyper hyper;

 protected:
  virtual void update() = 0;

  Tensor<T> new_state() {
    MemoryScope use(MemoryUse::optimizer);
    return zeros<T>({arena().size}, arena().values.device());
  }

  /// The scalars of this step for one group.
  StepScalars scalars(Group group) const {
    StepScalars s;
    s.lr = hyper.lr, s.beta1 = hyper.beta1, s.beta2 = hyper.beta2;
    s.weight_decay = group == Group::decay ? hyper.weight_decay : 0;
    s.correction1 = 1 - std::pow(hyper.beta1, static_cast<double>(steps_));
    s.correction2 = 1 - std::pow(hyper.beta2, static_cast<double>(steps_));
    s.grad_scale = grad_scale_;
    return s;
  }

  /// One backend call per group; `p` brings rule and options.
  void update_all(UpdateParams<T> p, const T* gradients) {
    p.p = arena().values.mutable_data();
    p.g = gradients;
    p.first_step = steps_ == 1;
    for (int g = 0; g < static_cast<int>(Group::count); ++g) {
      const auto& list = ranges_.ranges[g];
      if (list.empty()) continue;
      p.ranges = list.data();
      p.range_count = static_cast<int>(list.size());
      p.s = scalars(static_cast<Group>(g));
      backend<T>(arena().values.device()).update(p);
    }
  }

  index_t steps_ = 0;
  double grad_scale_ = 1;

 private:
  nn::Module<T>& module_;
  GroupRanges<T> ranges_;
};

}  // namespace flr::optim
