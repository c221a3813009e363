// Conversion between scalar types and devices, with gradient.
#pragma once

#include "flr/graph/backward.hpp"

namespace flr {

template <Scalar T>
Tensor<T> Tensor<T>::to(Device device) const {
  if (device == this->device()) return *this;
  const Tensor source = is_contiguous() ? *this : clone();
  Tensor y = empty(shape(), device);
  Storage::copy_bytes(y.mutable_data(), device, source.data(), this->device(),
                      numel() * index_t{sizeof(T)});
  if constexpr (Floating<T>) {
    if (recording(*this)) {
      const Device back = this->device();
      record("to", y, Inputs(*this), [back](Backward& b) { b.give(0, b.grad<T>().to(back)); });
    }
  }
  return y;
}

template <Scalar T>
template <Scalar U>
Tensor<U> Tensor<T>::to() const {
  if constexpr (std::same_as<T, U>) {
    return *this;
  } else if constexpr (Floating<T> && Floating<U>) {
    Tensor<U> y = detail::convert<T, U>(detach());
    if (recording(*this))
      record("to", y, Inputs(*this), [](Backward& b) { b.give(0, b.grad<U>()); });
    return y;
  } else if constexpr (Floating<U> && std::same_as<T, std::uint8_t>) {
    const Tensor source = is_contiguous() ? *this : clone();
    auto y = Tensor<U>::empty(shape(), device());
    backend<U>(device()).from_u8(source.data(), y.mutable_data(), numel());
    return y;
  } else if constexpr (Floating<T> && std::same_as<U, std::uint8_t>) {
    const Tensor source = is_contiguous() ? *this : clone();
    auto y = Tensor<U>::empty(shape(), device());
    backend<T>(device()).to_u8(source.data(), y.mutable_data(), numel());
    return y;
  } else {
    // Integers carry no gradient and are small: element by element on the host.
    const std::vector<T> from = to_vector();
    std::vector<U> values(from.size());
    for (std::size_t i = 0; i < from.size(); ++i)
      values[i] = static_cast<U>(static_cast<compute_t<T>>(from[i]));
    return from_vector(values, shape(), device());
  }
}

}  // namespace flr
