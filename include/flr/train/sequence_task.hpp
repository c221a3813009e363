// Training of models on token sequences, recursive ones with the state that they carry from one
// supervision step to the next.
#pragma once

#include "flr/data/loader.hpp"
#include "flr/train/sequence_batch.hpp"
#include "flr/train/task.hpp"

namespace flr::train {

/// Model and set belong to the caller and must outlive it. All batches have the set's padded length,
/// so that every step is the same work. A recursive model sees each batch for as many steps as it
/// has supervision steps.
template <Floating T>
class SequenceTask final : public Task<T> {
 public:
  SequenceTask(models::SequenceModel<T>& model, const data::SequenceSet& set,
               const SequenceInputs& how, index_t batch_size, std::uint64_t seed)
      : model_(model), how_(how),
        loader_(set.samples(),
                [&set, how](std::vector<index_t> list) {
                  return make_sequence_step<T>(set, how, std::move(list));
                },
                {batch_size, true, true, seed}) {
    trm_ = dynamic_cast<models::Trm<T>*>(&model);
    if (!trm_) return;
    repeats_ = trm_->trm_options().steps;
    const Shape shape{batch_size, set.length(), model.options().channels};
    const Device device = model.arena().values.device();
    y_ = zeros<T>(shape, device), z_ = zeros<T>(shape, device);
  }

  index_t batches() const override { return loader_.batches() * repeats_; }
  index_t inputs() const override { return 1 + how_.mask + (how_.binary ? 2 : 1) + (trm_ ? 1 : 0); }

  StepInputs batch(index_t epoch, index_t index) override {
    const index_t at = index / repeats_;
    if (!current_.tokens.defined() || epoch != epoch_ || at != at_) {
      current_ = loader_.batch(epoch, at);
      epoch_ = epoch, at_ = at;
    }
    StepInputs in{current_.tokens.ptr()};
    if (how_.mask) in.push_back(current_.keep.ptr());
    if (how_.binary) in.push_back(current_.target.ptr()), in.push_back(current_.weight.ptr());
    else in.push_back(current_.labels.ptr());
    if (trm_) in.push_back(full<T>({1, 1, 1}, index % repeats_ == 0 ? T(1) : T(0)).ptr());
    return in;
  }

  Tensor<T> loss(const StepInputs& in) override {
    SequenceStep<T> step;
    std::size_t at = 0;
    step.tokens = Tensor<index_t>(in[at++]);
    if (how_.mask) step.keep = Tensor<std::uint8_t>(in[at++]);
    if (how_.binary) step.target = Tensor<T>(in[at++]), step.weight = Tensor<T>(in[at++]);
    else step.labels = Tensor<index_t>(in[at++]);
    if (!trm_) return sequence_loss(model_(step.tokens, step.keep), step);

    // The first step on a batch starts anew. Which one is first is data, not a branch: a captured
    // step is replayed for both. (Clones, because backward comes after the state is written.)
    const Tensor<T> first(in[at]);
    models::TrmState<T> state = trm_->start(step.tokens);
    state.y = where(first, state.y, y_.clone());
    state.z = where(first, state.z, z_.clone());
    const Tensor<T> logits = trm_->supervise(step.tokens, step.keep, state);
    y_.copy_(state.y), z_.copy_(state.z);
    return sequence_loss(logits, step);
  }

  std::vector<optim::NamedState<T>> carried() override {
    if (!trm_) return {};
    return {{"y", y_}, {"z", z_}};
  }

 private:
  models::SequenceModel<T>& model_;
  models::Trm<T>* trm_ = nullptr;
  SequenceInputs how_;
  index_t repeats_ = 1;
  data::BatchLoader<SequenceStep<T>> loader_;
  SequenceStep<T> current_;
  index_t epoch_ = -1, at_ = -1;
  Tensor<T> y_, z_;
};

}  // namespace flr::train
