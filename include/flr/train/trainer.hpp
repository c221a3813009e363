// The training loop: one step as a function of its number, so that a run can stop anywhere.
#pragma once

#include <cmath>

#include "flr/train/checkpoint.hpp"
#include "flr/train/evaluate.hpp"

namespace flr::train {

struct TrainerOptions {
  index_t epochs = 100;
  index_t steps = 0;  ///< optimiser steps; replaces epochs if positive
  index_t batch_size = 1;
  index_t accumulate = 1;  ///< batches per optimiser step
  double clip = 1.0;       ///< largest gradient norm; 0: none
  double ema_decay = 0;    ///< 0: no average
  std::uint64_t seed = 0;
};

/// What a step did.
struct StepReport {
  index_t step = 0;  ///< its number, from 1
  double loss = 0, grad_norm = 0, lr = 0;
};

/// Trains a model on a data set. The trainer owns the loader and the average; model, optimiser,
/// schedule and set belong to the caller and must outlive it.
template <Floating T>
class Trainer {
 public:
  Trainer(models::Model<T>& model, optim::Optimizer<T>& optimizer, const data::Dataset& set,
          const TrainerOptions& options)
      : model_(model), optimizer_(optimizer), o_(options), loss_(set),
        loader_(set.train, {options.batch_size, true, true, options.seed}) {
    check(o_.accumulate >= 1, "[trainer] expected at least one batch per step, got {}",
          o_.accumulate);
    check(steps_per_epoch() >= 1, "[trainer] an epoch of {} batches is shorter than one step of {}",
          loader_.batches(), o_.accumulate);
    if (o_.ema_decay > 0) ema_ = std::make_unique<optim::EMA<T>>(model, o_.ema_decay);
  }

  /// Whole optimiser steps in an epoch.
  index_t steps_per_epoch() const { return loader_.batches() / o_.accumulate; }
  index_t total_steps() const { return o_.steps > 0 ? o_.steps : o_.epochs * steps_per_epoch(); }
  index_t step_count() const { return optimizer_.steps(); }
  bool done() const { return step_count() >= total_steps(); }
  void set_schedule(std::unique_ptr<optim::Schedule> schedule) { schedule_ = std::move(schedule); }

  /// One optimiser step on the next batch (or batches). A loss or gradient that is not finite
  /// throws before anything is updated.
  StepReport step() {
    const index_t n = optimizer_.steps();
    const index_t epoch = n / steps_per_epoch(), within = n % steps_per_epoch();
    set_random_step(static_cast<std::uint64_t>(n));
    StepReport report;
    report.step = n + 1;
    if (schedule_) {
      const optim::ScheduledValues s = schedule_->at(n);
      optimizer_.hyper.lr = s.lr;
      if (s.beta1 >= 0) optimizer_.hyper.beta1 = s.beta1;
    }
    report.lr = optimizer_.hyper.lr;

    model_.train();
    optimizer_.zero_grad();
    for (index_t k = 0; k < o_.accumulate; ++k) {
      MemoryScope use(MemoryUse::activations);
      const data::Batch<T> batch = loader_.batch(epoch, within * o_.accumulate + k);
      const Tensor<T> loss = loss_(model_(batch.x), batch.y);
      backward(loss);
      report.loss += static_cast<double>(loss.item()) / static_cast<double>(o_.accumulate);
    }
    // The mean over micro-batches: each gradient counts 1/accumulate.
    if (o_.accumulate > 1) optimizer_.scale_grad(1 / static_cast<double>(o_.accumulate));
    report.grad_norm = optim::clip_grad_norm(optimizer_, o_.clip);
    check(std::isfinite(report.loss) && std::isfinite(report.grad_norm),
          "[train] step {}: the loss is {} and the gradient norm {}", report.step, report.loss,
          report.grad_norm);
    optimizer_.step();
    if (ema_) ema_->update();
    last_loss_ = report.loss;
    return report;
  }

  optim::EMA<T>* ema() { return ema_.get(); }

  void save(const std::filesystem::path& folder) {
    save_checkpoint(folder, model_, optimizer_, ema_.get(),
                    {optimizer_.steps(), o_.seed, last_loss_});
  }
  /// Goes on from a checkpoint, with the same bits as a run that was never interrupted.
  Position load(const std::filesystem::path& folder) {
    const Position p = load_checkpoint(folder, model_, optimizer_, ema_.get());
    check(p.seed == o_.seed, "[trainer] {} was trained with seed {}, this run has {}",
          folder.string(), p.seed, o_.seed);
    last_loss_ = p.loss;
    return p;
  }

 private:
  models::Model<T>& model_;
  optim::Optimizer<T>& optimizer_;
  TrainerOptions o_;
  PdeLoss<T> loss_;
  data::Loader<T> loader_;
  std::unique_ptr<optim::EMA<T>> ema_;
  std::unique_ptr<optim::Schedule> schedule_;
  double last_loss_ = 0;
};

}  // namespace flr::train
