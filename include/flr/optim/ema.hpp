// An exponential moving average of the parameters.
#pragma once

#include "flr/nn.hpp"

namespace flr::optim {

/// shadow ← decay·shadow + (1 − decay)·p after every step; starts as a copy, without bias
/// correction, as the reference's.
template <Floating T>
class EMA {
 public:
  EMA(nn::Module<T>& module, double decay) : module_(module), decay_(decay) {
    check(decay >= 0 && decay < 1, "[EMA] expected a decay in [0, 1), got {}", decay);
    MemoryScope use(MemoryUse::ema);
    shadow_ = module.arena().values.clone();
  }

  void update() {
    const nn::Arena<T>& arena = module_.arena();
    backend<T>(shadow_.device()).ema(shadow_.mutable_data(), arena.values.data(), arena.size, decay_);
  }

  /// Exchanges the averaged and the raw weights; twice is nothing.
  void swap() {
    Tensor<T>& values = module_.arena().values;
    const Tensor<T> raw = values.clone();
    values.copy_(shadow_);
    shadow_.copy_(raw);
  }

  Tensor<T>& shadow() { return shadow_; }

 private:
  nn::Module<T>& module_;
  double decay_;
  Tensor<T> shadow_;
};

/// The averaged weights are in the module while this lives; also when an exception passes.
template <Floating T>
class AveragedWeights {
 public:
  explicit AveragedWeights(EMA<T>& ema) : ema_(ema) { ema_.swap(); }
  ~AveragedWeights() { ema_.swap(); }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  EMA<T>& ema_;
};

}  // namespace flr::optim
