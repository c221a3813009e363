// Learning-rate schedules: pure functions of the step, so that a resumed run needs no state.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <string>

#include "flr/core/error.hpp"

namespace flr::optim {

/// What a schedule says of a step; beta1 < 0 leaves the optimiser's own.
struct ScheduledValues {
  double lr = 0, beta1 = -1;
};

class Schedule {
 public:
  virtual ~Schedule() = default;
  /// The values that step `step` (from 0) is made with.
  virtual ScheduledValues at(long long step) const = 0;
};

enum class Anneal : unsigned char { cosine, linear };

/// a at t = 0, b at t = 1.
inline double anneal(Anneal kind, double a, double b, double t) {
  if (kind == Anneal::linear) return (b - a) * t + a;
  return b + (a - b) / 2 * (1 + std::cos(std::numbers::pi * t));
}

struct OneCycleOptions {
  double max_lr = 1e-3;
  long long total_steps = 0;
  double pct_start = 0.3, div_factor = 25, final_div_factor = 1e4;
  bool three_phase = false;
  bool cycle_momentum = false;
  double base_momentum = 0.85, max_momentum = 0.95;
  Anneal strategy = Anneal::cosine;
  double min_lr = -1;  ///< replaces the final rate if ≥ 0
};

/// Smith & Topin 2018, as PyTorch's OneCycleLR: the rate rises from max/div to max, then falls to
/// (max/div)/final_div; in three phases it returns to max/div first. Momentum moves against it.
class OneCycle final : public Schedule {
 public:
  explicit OneCycle(OneCycleOptions o) : o_(o) {
    check(o.total_steps > 0, "[OneCycle] expected at least one step, got {}", o.total_steps);
    check(o.pct_start >= 0 && o.pct_start <= 1, "[OneCycle] pct_start must lie in [0, 1]; got {}",
          o.pct_start);
    check(o.div_factor > 0 && o.final_div_factor > 0,
          "[OneCycle] div factors must be positive; got {} and {}", o.div_factor,
          o.final_div_factor);
  }

  ScheduledValues at(long long step) const override {
    const double n = static_cast<double>(o_.total_steps), up = o_.pct_start * n - 1;
    const double first = o_.max_lr / o_.div_factor;
    const double last = o_.min_lr >= 0 ? o_.min_lr : first / o_.final_div_factor;
    const double high = o_.max_momentum, low = o_.base_momentum;
    const double s = static_cast<double>(std::min(step, o_.total_steps - 1));
    double lr = 0, momentum = 0;
    const auto phase = [&](double from, double to, double lr0, double lr1, double m0, double m1) {
      const double t = to > from ? (s - from) / (to - from) : 1;
      lr = anneal(o_.strategy, lr0, lr1, t);
      momentum = anneal(o_.strategy, m0, m1, t);
    };
    if (o_.three_phase) {
      const double down = 2 * o_.pct_start * n - 2;
      if (s <= up) phase(0, up, first, o_.max_lr, high, low);
      else if (s <= down) phase(up, down, o_.max_lr, first, low, high);
      else phase(down, n - 1, first, last, high, high);
    } else {
      if (s <= up) phase(0, up, first, o_.max_lr, high, low);
      else phase(up, n - 1, o_.max_lr, last, low, high);
    }
    return {lr, o_.cycle_momentum ? momentum : -1};
  }

 private:
  OneCycleOptions o_;
};

class Constant final : public Schedule {
 public:
  explicit Constant(double lr) : lr_(lr) {}
  ScheduledValues at(long long) const override { return {lr_, -1}; }

 private:
  double lr_;
};

/// From lr to min_lr along half a cosine over `steps` steps; goes on periodically, as PyTorch's.
class Cosine final : public Schedule {
 public:
  Cosine(double lr, long long steps, double min_lr = 0) : lr_(lr), min_(min_lr), steps_(steps) {
    check(steps > 0, "[Cosine] expected at least one step, got {}", steps);
  }
  ScheduledValues at(long long step) const override {
    const double t = static_cast<double>(step) / static_cast<double>(steps_);
    return {min_ + (lr_ - min_) * (1 + std::cos(std::numbers::pi * t)) / 2, -1};
  }

 private:
  double lr_, min_;
  long long steps_;
};

/// Cosine that starts again after `period` steps, each period `factor` times as long as the one
/// before (SGDR, Loshchilov & Hutter 2017).
class CosineWarmRestarts final : public Schedule {
 public:
  CosineWarmRestarts(double lr, long long period, long long factor = 1, double min_lr = 0)
      : lr_(lr), min_(min_lr), period_(period), factor_(factor) {
    check(period > 0 && factor > 0, "[CosineWarmRestarts] expected a period and a factor of at "
          "least 1; got {} and {}", period, factor);
  }
  ScheduledValues at(long long step) const override {
    long long length = period_;
    if (factor_ == 1) step %= length;
    else while (step >= length) {
      step -= length;
      length *= factor_;
    }
    const double t = static_cast<double>(step) / static_cast<double>(length);
    return {min_ + (lr_ - min_) * (1 + std::cos(std::numbers::pi * t)) / 2, -1};
  }

 private:
  double lr_, min_;
  long long period_, factor_;
};

/// The first `warmup` steps rise linearly from lr/warmup; then `after` takes over, counted from 0.
class LinearWarmup final : public Schedule {
 public:
  LinearWarmup(long long warmup, std::unique_ptr<Schedule> after)
      : warmup_(warmup), after_(std::move(after)) {
    check(warmup >= 0, "[LinearWarmup] expected 0 or more steps, got {}", warmup);
  }
  ScheduledValues at(long long step) const override {
    if (step >= warmup_) return after_->at(step - warmup_);
    ScheduledValues v = after_->at(0);
    v.lr *= static_cast<double>(step + 1) / static_cast<double>(warmup_);
    return v;
  }

 private:
  long long warmup_;
  std::unique_ptr<Schedule> after_;
};

}  // namespace flr::optim
