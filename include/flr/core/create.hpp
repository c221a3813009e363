// Making tensors, and the element-wise copies that need no graph.
#pragma once

#include <type_traits>

#include "flr/core/random.hpp"
#include "flr/core/tensor.hpp"

namespace flr {

namespace detail {

/// Visits every index of a shape in row-major order with the offset that strides give it.
template <class Visit>
void for_each_offset(const Shape& shape, const Shape& strides, Visit&& visit) {
  const index_t n = shape.numel();
  index_t position[max_rank] = {}, offset = 0;
  for (index_t i = 0; i < n; ++i) {
    visit(i, offset);
    for (int a = shape.rank() - 1; a >= 0; --a) {
      offset += strides[a];
      if (++position[a] < shape[a]) break;
      offset -= strides[a] * shape[a];
      position[a] = 0;
    }
  }
}

/// Strides of a tensor seen through a larger shape; 0 along broadcast axes.
inline Shape broadcast_strides(const Shape& shape, const Shape& strides, const Shape& to) {
  Shape result;
  const int lead = to.rank() - shape.rank();
  for (int a = 0; a < to.rank(); ++a)
    result.push_back(a < lead || shape[a - lead] == 1 ? 0 : strides[a - lead]);
  return result;
}

}  // namespace detail

template <Scalar T>
Tensor<T>& Tensor<T>::copy_(const Tensor& source) {
  check(broadcast_shapes(shape(), source.shape(), "copy_") == shape(),
        "[copy_] shape {} does not broadcast to {}", source.shape(), shape());
  check(device() == source.device(), "[copy_] expected a tensor on {}, got one on {}",
        device().str(), source.device().str());
  const Shape from = detail::broadcast_strides(source.shape(), source.strides(), shape());
  T* dst = mutable_data();
  if constexpr (Floating<T>) {
    backend<T>(device()).copy({shape(), from, strides(), source.data(), dst});
  } else {
    check(device().is_cpu(), "[copy_] integer tensors are copied on the CPU only");
    std::vector<index_t> offsets;
    const T* src = source.data();
    detail::for_each_offset(shape(), strides(),
                            [&](index_t, index_t offset) { offsets.push_back(offset); });
    detail::for_each_offset(shape(), from,
                            [&](index_t i, index_t offset) { dst[offsets[i]] = src[offset]; });
  }
  return *this;
}

template <Scalar T>
Tensor<T>& Tensor<T>::fill_(T value) {
  if (is_contiguous() && Floating<T>) {
    if constexpr (Floating<T>) backend<T>(device()).fill(mutable_data(), numel(), value);
    return *this;
  }
  if (!device().is_cpu()) {  // of whole numbers: the table has floating types only
    check(is_contiguous(), "[fill_] expected a contiguous tensor on {}", device().str());
    const std::vector<T> host(static_cast<std::size_t>(numel()), value);
    Storage::copy_bytes(mutable_data(), device(), host.data(), Device::cpu, numel() * index_t{sizeof(T)});
    return *this;
  }
  T* dst = mutable_data();
  detail::for_each_offset(shape(), strides(), [&](index_t, index_t offset) { dst[offset] = value; });
  return *this;
}

template <Scalar T>
std::vector<T> Tensor<T>::to_vector() const {
  const Tensor source = is_contiguous() ? *this : clone();
  std::vector<T> values(static_cast<std::size_t>(numel()));
  Storage::copy_bytes(values.data(), Device::cpu, source.data(), device(), numel() * index_t{sizeof(T)});
  return values;
}

template <Scalar T = float>
Tensor<T> empty(const Shape& shape, Device device = Device::cpu) {
  return Tensor<T>::empty(shape, device);
}

template <Scalar T = float>
Tensor<T> full(const Shape& shape, std::type_identity_t<T> value, Device device = Device::cpu) {
  auto x = Tensor<T>::empty(shape, device);
  x.fill_(value);
  return x;
}

template <Scalar T = float>
Tensor<T> zeros(const Shape& shape, Device device = Device::cpu) {
  return full<T>(shape, T{}, device);
}

template <Scalar T = float>
Tensor<T> ones(const Shape& shape, Device device = Device::cpu) {
  return full<T>(shape, static_cast<T>(1.0f), device);
}

/// Values in row-major order.
template <Scalar T>
Tensor<T> from_vector(const std::vector<T>& values, const Shape& shape, Device device = Device::cpu) {
  check(static_cast<index_t>(values.size()) == shape.numel(),
        "[from_vector] shape {} takes {} values, got {}", shape, shape.numel(), values.size());
  auto x = Tensor<T>::empty(shape, device);
  Storage::copy_bytes(x.mutable_data(), device, values.data(), Device::cpu,
                      shape.numel() * index_t{sizeof(T)});
  return x;
}

template <Scalar T>
Tensor<T> from_vector(const std::vector<T>& values) {
  return from_vector(values, {static_cast<index_t>(values.size())});
}

/// begin, begin + step, … below end.
template <Scalar T = float>
Tensor<T> arange(double begin, double end, double step = 1, Device device = Device::cpu) {
  check(step != 0 && (end - begin) / step >= 0, "[arange] cannot go from {} to {} in steps of {}",
        begin, end, step);
  std::vector<T> values;
  const double count = (end - begin) / step;
  for (index_t i = 0; static_cast<double>(i) < count; ++i)
    values.push_back(
        static_cast<T>(static_cast<compute_t<T>>(begin + static_cast<double>(i) * step)));
  return from_vector(values, {static_cast<index_t>(values.size())}, device);
}

/// `count` values from begin to end, both included.
template <Floating T = float>
Tensor<T> linspace(double begin, double end, index_t count, Device device = Device::cpu) {
  std::vector<T> values;
  for (index_t i = 0; i < count; ++i) {
    const double t = count == 1 ? 0 : static_cast<double>(i) / static_cast<double>(count - 1);
    values.push_back(static_cast<T>(static_cast<compute_t<T>>(begin + t * (end - begin))));
  }
  return from_vector(values, {count}, device);
}

/// Uniform in [0, 1), from the random state's next draw.
template <Floating T = float>
Tensor<T> rand(const Shape& shape, Device device = Device::cpu) {
  auto x = Tensor<T>::empty(shape, device);
  const RandomState d = detail::next_draw();
  backend<T>(device).random({x.numel(), Distribution::uniform, d.seed, d.step, d.call,
                             x.mutable_data()});
  return x;
}

/// Standard normal, from the random state's next draw.
template <Floating T = float>
Tensor<T> randn(const Shape& shape, Device device = Device::cpu) {
  auto x = Tensor<T>::empty(shape, device);
  const RandomState d = detail::next_draw();
  backend<T>(device).random({x.numel(), Distribution::normal, d.seed, d.step, d.call,
                             x.mutable_data()});
  return x;
}

}  // namespace flr
