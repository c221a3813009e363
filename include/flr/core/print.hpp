// Printing a tensor: dtype, shape, device, the node that made it, and the values.
#pragma once

#include <string>

#include "flr/core/create.hpp"

namespace flr {

namespace detail {

template <Scalar T>
std::string print_value(T value) {
  if constexpr (std::same_as<T, index_t> || std::same_as<T, std::uint8_t>)
    return fmt::format("{}", static_cast<index_t>(value));
  else return fmt::format("{:.5g}", static_cast<double>(static_cast<compute_t<T>>(value)));
}

/// Rows of values; long axes show their three first and last entries.
template <Scalar T>
std::string print_values(const Shape& shape, const std::vector<T>& values, int axis, index_t& at,
                         int indent) {
  if (axis == shape.rank()) return print_value(values[static_cast<std::size_t>(at++)]);
  const index_t n = shape[axis], inner = [&] {
    index_t count = 1;
    for (int a = axis + 1; a < shape.rank(); ++a) count *= shape[a];
    return count;
  }();
  const bool last = axis + 1 == shape.rank();
  std::string text = "[";
  for (index_t i = 0; i < n; ++i) {
    if (i > 0) text += last ? ", " : ",\n" + std::string(static_cast<std::size_t>(indent + 1), ' ');
    if (n > 8 && i == 3) {
      text += "…";
      at += inner * (n - 6);
      i = n - 4;
      continue;
    }
    text += print_values(shape, values, axis + 1, at, indent + 1);
  }
  return text + "]";
}

/// The name of a node, which lies on a higher floor than this file.
std::string node_label(const TensorImpl& impl);

}  // namespace detail

/// For example `tensor<float>[2,3] cpu softmax` and the values below.
template <Scalar T>
std::string to_string(const Tensor<T>& x) {
  if (!x.defined()) return "tensor (no value)";
  std::string text = fmt::format("tensor<{}>{} {}{}\n", name_of(dtype_of<T>), x.shape(),
                                 x.device().str(), detail::node_label(x.impl()));
  index_t at = 0;
  return text + detail::print_values(x.shape(), x.to_vector(), 0, at, 0);
}

}  // namespace flr

template <class T>
struct fmt::formatter<flr::Tensor<T>> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(const flr::Tensor<T>& x, Context& context) const {
    return fmt::format_to(context.out(), "{}", flr::to_string(x));
  }
};
