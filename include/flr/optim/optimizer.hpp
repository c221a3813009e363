// What all optimisers share: the arena, the groups, and the scalars of a step.
#pragma once

#include <cmath>

#include "flr/core/device_values.hpp"
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
  double clip = 0;                    ///< the largest gradient norm; 0: any
};

template <Floating T>
class Optimizer {
 public:
  Optimizer(nn::Module<T>& module, Hyper hyper, GroupOptions groups)
      : hyper(hyper), module_(module), ranges_(module.arena(), groups),
        device_scalars_(static_cast<int>(Group::count), module.arena().values.device()),
        norm_squared_(zeros<double>({1}, module.arena().values.device())) {}
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

  /// One update from the gradients in the arena. Gradients that backward did not reach count as 0;
  /// a gradient norm beyond hyper.clip is scaled down to it.
  void step() {
    prepare();
    launch();
  }

  /// The two halves of a step. prepare() counts it and hands its scalars to the device; launch() is
  /// work for the device only, the same for every step, so that it can be captured and replayed.
  void prepare() {
    ++steps_;
    stage_scalars();
    grad_scale_ = 1;
  }
  void launch() {
    if (hyper.clip > 0 && !norm_measured_) measure_norm();
    clear_unreached();
    update();
    arena().values.impl().storage->bump_version();
    if (nn::Bf16Copy<T>* copy = arena().bf16_copy.get()) {
      if (copy_written_) copy->mark_current();
      else copy->refresh();
    }
    norm_measured_ = copy_written_ = false;
  }

  /// Σ g² into the device's memory: what the next launch() clips by, and what grad_norm() reads.
  void measure_norm() {
    clear_unreached();
    const nn::Arena<T>& a = arena();
    backend<T>(a.gradients.device())
        .sum_squares(a.gradients.data(), a.size, norm_squared_.mutable_data());
    norm_measured_ = true;
  }
  /// ‖g‖₂ as measured last, without scale_grad(). Waits for the device.
  double grad_norm() const { return std::sqrt(norm_squared_.item()); }
  /// Its square, [1], where it was measured.
  const Tensor<double>& norm_squared() const { return norm_squared_; }

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
  virtual StepScalars scalars(Group group) const {
    StepScalars s;
    s.lr = hyper.lr, s.beta1 = hyper.beta1, s.beta2 = hyper.beta2;
    s.weight_decay = group == Group::decay ? hyper.weight_decay : 0;
    s.correction1 = 1 - std::pow(hyper.beta1, static_cast<double>(steps_));
    s.correction2 = 1 - std::pow(hyper.beta2, static_cast<double>(steps_));
    s.grad_scale = grad_scale_, s.clip = hyper.clip;
    s.step = static_cast<double>(steps_);
    return s;
  }

  /// Hands the scalars of this step to the device.
  virtual void stage_scalars() {
    StepScalars values[static_cast<int>(Group::count)];
    for (int g = 0; g < static_cast<int>(Group::count); ++g)
      values[g] = scalars(static_cast<Group>(g));
    device_scalars_.set(values);
  }
  const StepScalars* device_scalars(Group group) const {
    return device_scalars_.data() + static_cast<int>(group);
  }
  /// Where the measured Σ g² lies; null when this step measured none.
  const double* measured_norm() const { return norm_measured_ ? norm_squared_.data() : nullptr; }

  /// Where the parameters are kept in bf16 too; null if nowhere.
  bf16* bf16_copy() {
    return arena().bf16_copy ? arena().bf16_copy->mutable_data() : nullptr;
  }

  /// One backend call per group; `p` brings rule and options.
  void update_all(UpdateParams<T> p, const T* gradients) {
    p.p = arena().values.mutable_data();
    p.g = gradients;
    p.norm_squared = measured_norm();
    p.shadow = bf16_copy();
    copy_written_ = true;
    for (int g = 0; g < static_cast<int>(Group::count); ++g) {
      const auto& list = ranges_.ranges[g];
      if (list.empty()) continue;
      p.ranges = list.data();
      p.range_count = static_cast<int>(list.size());
      p.s = device_scalars(static_cast<Group>(g));
      backend<T>(arena().values.device()).update(p);
    }
  }

  index_t steps_ = 0;
  double grad_scale_ = 1;

 private:
  nn::Module<T>& module_;
  GroupRanges<T> ranges_;
  DeviceValues<StepScalars> device_scalars_;
  Tensor<double> norm_squared_;
  bool norm_measured_ = false, copy_written_ = false;
};

}  // namespace flr::optim
