// The parameters rounded to bf16, beside the masters that an optimiser works on.
#pragma once

#include "flr/graph/node.hpp"

namespace flr::nn {

/// A copy of an arena of parameters in bf16, at the same offsets. Its tensors stand for the
/// parameters in operations on bf16: what backward computes for them goes to the parameters' own
/// gradients, in the parameters' precision.
template <Floating T>
class Bf16Copy {
 public:
  explicit Bf16Copy(const Tensor<T>& values)
      : values_(values), copy_(Tensor<bf16>::empty(values.shape(), values.device())) {
    refresh();
  }

  /// Rounds all parameters anew.
  void refresh() {
    backend<T>(values_.device()).to_bf16(values_.data(), copy_.mutable_data(), values_.numel());
    mark_current();
  }
  /// The same if a parameter changed since.
  void update() {
    if (version_ != version()) refresh();
  }
  /// For an optimiser that wrote both.
  void mark_current() { version_ = version(); }
  bf16* mutable_data() { return copy_.mutable_data(); }

  /// What stands for a parameter of the arena.
  Tensor<bf16> of(const Tensor<T>& parameter) {
    update();
    auto impl = std::make_shared<TensorImpl>(parameter.impl());  // its shape, and its leaf
    impl->offset = parameter.data() - values_.data();
    impl->dtype = DType::bf16;
    impl->storage = copy_.impl().storage;
    return Tensor<bf16>(std::move(impl));
  }

 private:
  std::uint32_t version() const { return values_.impl().storage->version(); }

  Tensor<T> values_;
  Tensor<bf16> copy_;
  std::uint32_t version_ = 0;
};

}  // namespace flr::nn
