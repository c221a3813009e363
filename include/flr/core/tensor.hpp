// Tensor<T>: a value handle on strided data and, if a gradient is wanted, on the graph behind it.
#pragma once

#include <memory>
#include <vector>

#include "flr/core/storage.hpp"

namespace flr {

class Node;  // graph/node.hpp

/// What a handle refers to. Copies of a handle share it; a view has its own and shares the storage.
struct TensorImpl {
  std::shared_ptr<Storage> storage;
  index_t offset = 0;  ///< in elements
  Shape shape, strides;
  DType dtype = DType::f32;
  bool requires_grad = false;
  std::shared_ptr<Node> node;  ///< what made it, or the leaf that collects its gradient
  int slot = 0;                ///< which output of the node

  index_t numel() const { return shape.numel(); }
  bool is_contiguous() const {
    index_t step = 1;
    for (int i = shape.rank() - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != step) return false;
      step *= shape[i];
    }
    return true;
  }
  char* bytes() const {
    return static_cast<char*>(storage->data()) + offset * size_of(dtype);
  }
};

using ImplPtr = std::shared_ptr<TensorImpl>;

namespace detail {
inline ImplPtr new_impl(const Shape& shape, DType dtype, Device device) {
  index_t bytes = size_of(dtype);
  for (index_t extent : shape) {
    check(extent >= 0, "[tensor] extents must not be negative; got shape {}", shape);
    // The product of the others counts even where one extent is 0: strides are made from it.
    const bool fits = !__builtin_mul_overflow(bytes, extent > 0 ? extent : 1, &bytes);
    check(fits, "[tensor] shape {} has more elements than an address can count", shape);
  }
  auto impl = std::make_shared<TensorImpl>();
  impl->shape = shape;
  impl->strides = contiguous_strides(shape);
  impl->dtype = dtype;
  impl->storage = std::make_shared<Storage>(shape.numel() * size_of(dtype), device);
  return impl;
}
}  // namespace detail

/// A tensor of scalars T (float, double, bf16; int64 for labels and indices, uint8 for keep-masks).
/// Shape, strides and device are run-time values. Copies share data; arithmetic is eager and, where
/// an input requires a gradient, recorded.
template <Scalar T>
class Tensor {
 public:
  using value_type = T;

  Tensor() = default;
  explicit Tensor(ImplPtr impl) : impl_(std::move(impl)) {}

  /// Uninitialised memory.
  static Tensor empty(const Shape& shape, Device device = Device::cpu) {
    return Tensor(detail::new_impl(shape, dtype_of<T>, device));
  }

  bool defined() const { return impl_ != nullptr; }
  explicit operator bool() const { return defined(); }

  const Shape& shape() const { return impl().shape; }
  const Shape& strides() const { return impl().strides; }
  int rank() const { return shape().rank(); }
  /// The extent of an axis; negative axes count from the end.
  index_t size(int axis) const { return shape()[axis]; }
  index_t numel() const { return impl().numel(); }
  Device device() const { return impl().storage->device(); }
  static constexpr DType dtype() { return dtype_of<T>; }
  bool is_contiguous() const { return impl().is_contiguous(); }

  /// Device pointer to the first element.
  const T* data() const { return reinterpret_cast<const T*>(impl().bytes()); }
  /// The same for writing: backward refuses a tensor that was saved before and changed after.
  T* mutable_data() {
    impl().storage->bump_version();
    return reinterpret_cast<T*>(impl().bytes());
  }

  /// The value of a tensor with one element.
  T item() const {
    check(numel() == 1, "[item] expected one element, got shape {}", shape());
    T value;
    Storage::copy_bytes(&value, Device::cpu, data(), device(), sizeof(T));
    return value;
  }
  /// One element, by position: x.at(2, -1). For looking at values, not for loops.
  template <std::convertible_to<index_t>... I>
  T at(I... position) const {
    return at(Shape{static_cast<index_t>(position)...});
  }
  T at(const Shape& position) const {
    check(position.rank() == rank(), "[at] shape {} takes {} indices, got {}", shape(), rank(),
          position.rank());
    index_t offset = 0;
    for (int a = 0; a < rank(); ++a) {
      const index_t i = position[a] < 0 ? position[a] + size(a) : position[a];
      check(i >= 0 && i < size(a), "[at] index {} is outside shape {}", position, shape());
      offset += i * strides()[a];
    }
    T value;
    Storage::copy_bytes(&value, Device::cpu, data() + offset, device(), sizeof(T));
    return value;
  }
  /// All elements in row-major order, on the host.
  std::vector<T> to_vector() const;

  /// Whether operations on this tensor are recorded.
  bool requires_grad() const { return impl_ && impl_->requires_grad; }
  /// Makes this tensor a leaf that collects a gradient, or stops it being one.
  Tensor& requires_grad(bool wanted);
  /// The gradient that backward left here (zeros if it left none); undefined without a leaf.
  Tensor<compute_t<T>> grad() const;
  /// Forgets the gradient.
  void zero_grad();
  /// The same data, outside the graph.
  Tensor detach() const {
    auto copy = std::make_shared<TensorImpl>(impl());
    copy->requires_grad = false;
    copy->node.reset();
    copy->slot = 0;
    return Tensor(std::move(copy));
  }

  /// A copy of the data with row-major strides, outside the graph.
  Tensor clone() const {
    Tensor y = empty(shape(), device());
    y.copy_(*this);
    return y;
  }
  /// Copies values from `source`, which broadcasts to this shape. In place, not recorded.
  Tensor& copy_(const Tensor& source);
  Tensor& fill_(T value);

  // Recorded operations, defined in ops/views.hpp and ops/convert.hpp.
  Tensor to(Device device) const;
  template <Scalar U>
  Tensor<U> to() const;
  Tensor reshape(const Shape& shape) const;
  Tensor permute(const Shape& axes) const;
  Tensor transpose(int a, int b) const;
  Tensor slice(int axis, index_t begin, index_t end, index_t step = 1) const;
  Tensor operator[](index_t i) const;
  Tensor contiguous() const;

  TensorImpl& impl() const {
    check(impl_ != nullptr, "[tensor] this tensor was never given a value");
    return *impl_;
  }
  const ImplPtr& ptr() const { return impl_; }

 private:
  ImplPtr impl_;
};

}  // namespace flr
