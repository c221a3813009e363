// The training loop: one step as a function of its number, so that a run can stop anywhere.
#pragma once

#include <cmath>

#include "flr/train/checkpoint.hpp"
#include "flr/train/pde_task.hpp"
#include "flr/train/step_reports.hpp"

namespace flr::train {

struct TrainerOptions {
  index_t epochs = 100;
  index_t steps = 0;  ///< optimiser steps; replaces epochs if positive
  index_t batch_size = 1;
  index_t accumulate = 1;  ///< batches per optimiser step
  double clip = 1.0;       ///< largest gradient norm; 0: none
  double ema_decay = 0;    ///< 0: no average
  std::uint64_t seed = 0;
  bool capture = true;  ///< on a GPU: a step as one CUDA graph, with the same bits
};

/// Trains a model on a task, where the model's parameters lie. The trainer owns the task and the
/// average; model, optimiser and what the task refers to belong to the caller and must outlive it.
template <Floating T>
class Trainer {
 public:
  Trainer(nn::Module<T>& model, optim::Optimizer<T>& optimizer, std::unique_ptr<Task<T>> task,
          const TrainerOptions& options)
      : model_(model), optimizer_(optimizer), o_(options), device_(model.arena().values.device()),
        task_(std::move(task)), reports_(device_),
        device_step_(device_, [this](const StepInputs& in) { return whole(in); },
                     {.enabled = options.capture}) {
    check(o_.accumulate >= 1, "[trainer] expected at least one batch per step, got {}",
          o_.accumulate);
    check(steps_per_epoch() >= 1, "[trainer] an epoch of {} batches is shorter than one step of {}",
          task_->batches(), o_.accumulate);
    if (o_.ema_decay > 0) ema_ = std::make_unique<optim::EMA<T>>(model, o_.ema_decay);
    optimizer_.hyper.clip = o_.clip;
  }
  /// A model on points, with the loss of the PDE experiments.
  Trainer(models::Model<T>& model, optim::Optimizer<T>& optimizer, const data::Dataset& set,
          const TrainerOptions& o)
      : Trainer(model, optimizer, std::make_unique<PdeTask<T>>(model, set, o.batch_size, o.seed), o) {}

  /// Whole optimiser steps in an epoch.
  index_t steps_per_epoch() const { return task_->batches() / o_.accumulate; }
  index_t total_steps() const { return o_.steps > 0 ? o_.steps : o_.epochs * steps_per_epoch(); }
  index_t step_count() const { return optimizer_.steps(); }
  bool done() const { return step_count() >= total_steps(); }
  void set_schedule(std::unique_ptr<optim::Schedule> schedule) { schedule_ = std::move(schedule); }

  /// One optimiser step on the next batch (or batches). On a GPU it is asked for, not waited for:
  /// report() waits. A loss or gradient that is not finite never reaches the weights; the error that
  /// says so comes from this function, on a GPU from the next report() or save() at the latest.
  void step() {
    const index_t n = optimizer_.steps();
    set_random_step(static_cast<std::uint64_t>(n));
    set_device_random_step(device_, static_cast<std::uint64_t>(n));
    if (schedule_) {
      const optim::ScheduledValues s = schedule_->at(n);
      optimizer_.hyper.lr = s.lr;
      if (s.beta1 >= 0) optimizer_.hyper.beta1 = s.beta1;
    }
    model_.train();
    model_.begin_step(static_cast<std::uint64_t>(n));
    model_.refresh_bf16();  // a replay would not notice weights that were exchanged
    // The mean over micro-batches: each gradient counts 1/accumulate.
    if (o_.accumulate > 1) optimizer_.scale_grad(1 / static_cast<double>(o_.accumulate));
    if (device_.is_cpu()) step_on_host(n);
    else step_on_device(n);
  }

  /// What the last step did; waits for it.
  StepReport report() { return reports_.last(); }
  /// The same for every step since the last call, oldest first.
  std::vector<StepReport> take_reports() { return reports_.take(); }

  optim::EMA<T>* ema() { return ema_.get(); }
  Device device() const { return device_; }
  /// Whether the last step was the replay of a CUDA graph.
  bool captured() const { return device_step_.captured(); }

  void save(const std::filesystem::path& folder) {
    const double loss = reports_.last().loss;  // and throws where a step went wrong
    save_checkpoint(folder, model_, optimizer_, ema_.get(), {optimizer_.steps(), o_.seed, loss},
                    task_->carried());
  }
  /// Goes on from a checkpoint, with the same bits as a run that was never interrupted.
  Position load(const std::filesystem::path& folder) {
    const Position p = load_checkpoint(folder, model_, optimizer_, ema_.get(), task_->carried());
    check(p.seed == o_.seed, "[trainer] {} was trained with seed {}, this run has {}",
          folder.string(), p.seed, o_.seed);
    reports_.restart({p.step, p.loss, 0, 0});
    return p;
  }

 private:
  /// Micro-batch k of step n.
  StepInputs batch(index_t n, index_t k) {
    const index_t epoch = n / steps_per_epoch(), within = n % steps_per_epoch();
    return task_->batch(epoch, within * o_.accumulate + k);
  }

  /// Gradients of all micro-batches, their norm, and the mean of the losses.
  template <class BatchOf>
  Tensor<double> gradients(BatchOf&& batch_of) {
    const double count = static_cast<double>(o_.accumulate);
    optimizer_.zero_grad();
    Tensor<double> mean;
    for (index_t k = 0; k < o_.accumulate; ++k) {
      MemoryScope use(MemoryUse::activations);
      const Tensor<T> loss = task_->loss(batch_of(k));
      backward(loss);
      const Tensor<double> part = loss.detach().template to<double>();
      if (k > 0) mean = map(_1 + _2 / count, mean, part);
      else mean = o_.accumulate > 1 ? map(_1 / count, part) : part;
    }
    optimizer_.measure_norm();
    return mean;
  }

  void update() {
    optimizer_.launch();
    if (ema_) ema_->update();
  }

  void step_on_host(index_t n) {
    const Tensor<double> loss = gradients([&](index_t k) { return batch(n, k); });
    reports_.add({n + 1, loss.item(), optimizer_.grad_norm() * std::abs(optimizer_.grad_scale()),
                  optimizer_.hyper.lr});
    optimizer_.prepare();
    update();
  }

  void step_on_device(index_t n) {
    StepInputs inputs;
    for (index_t k = 0; k < o_.accumulate; ++k)
      for (ImplPtr& tensor : batch(n, k)) inputs.push_back(std::move(tensor));
    const double scale = std::abs(optimizer_.grad_scale());
    optimizer_.prepare();
    const Tensor<double>& loss = device_step_.run(inputs);
    reports_.add_later({n + 1, 0, scale, optimizer_.hyper.lr}, loss, optimizer_.norm_squared());
  }

  /// A step as the device sees it: nothing but work that can be repeated for other values.
  Tensor<double> whole(const StepInputs& in) {
    const Tensor<double> loss = gradients([&](index_t k) {
      const auto from = in.begin() + k * task_->inputs();
      return StepInputs(from, from + task_->inputs());
    });
    update();
    return loss;
  }

  nn::Module<T>& model_;
  optim::Optimizer<T>& optimizer_;
  TrainerOptions o_;
  Device device_;
  std::unique_ptr<Task<T>> task_;
  std::unique_ptr<optim::EMA<T>> ema_;
  std::unique_ptr<optim::Schedule> schedule_;
  StepReports reports_;
  CapturedStep<Tensor<double>> device_step_;
};

}  // namespace flr::train
