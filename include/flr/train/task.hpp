// What a trainer trains on: batches and their loss.
#pragma once

#include "flr/flr.hpp"
#include "flr/optim.hpp"

namespace flr::train {

/// One kind of training. Batches are functions of (epoch, index) alone, so that a run can stop and go
/// on anywhere; the loss does only what a captured step may do (graph/step.hpp).
template <Floating T>
class Task {
 public:
  Task() = default;
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  /// Batches of an epoch.
  virtual index_t batches() const = 0;
  /// Tensors of a batch.
  virtual index_t inputs() const = 0;
  /// The tensors of a batch, on the host. Asked for in order, but for the place where a run goes on.
  virtual StepInputs batch(index_t epoch, index_t index) = 0;
  /// The loss of such tensors, on the model's device.
  virtual Tensor<T> loss(const StepInputs& batch) = 0;
  /// What one step leaves for the next, apart from the weights: saved with a checkpoint.
  virtual std::vector<optim::NamedState<T>> carried() { return {}; }
};

}  // namespace flr::train
