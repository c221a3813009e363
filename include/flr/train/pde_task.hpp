// Training of models on points: relative L2 of decoded fields.
#pragma once

#include "flr/data/loader.hpp"
#include "flr/train/pde_loss.hpp"
#include "flr/train/task.hpp"

namespace flr::train {

/// Model and set belong to the caller and must outlive it.
template <Floating T>
class PdeTask final : public Task<T> {
 public:
  PdeTask(models::Model<T>& model, const data::Dataset& set, index_t batch_size, std::uint64_t seed)
      : model_(model), loss_(set, model.arena().values.device()),
        loader_(set.train, {batch_size, true, true, seed}) {}

  index_t batches() const override { return loader_.batches(); }
  index_t inputs() const override { return 2; }
  StepInputs batch(index_t epoch, index_t index) override {
    const data::Batch<T> b = loader_.batch(epoch, index);
    return {b.x.ptr(), b.y.ptr()};
  }
  Tensor<T> loss(const StepInputs& in) override {
    return loss_(model_.apply(Tensor<T>(in[0])), Tensor<T>(in[1]));
  }

 private:
  models::Model<T>& model_;
  PdeLoss<T> loss_;
  data::Loader<T> loader_;
};

}  // namespace flr::train
