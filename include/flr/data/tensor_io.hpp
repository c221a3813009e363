// Arrays of files as tensors, and back.
#pragma once

#include "flr/core/create.hpp"
#include "flr/data/array.hpp"

namespace flr::data {

/// A tensor of the array's shape, converted (checked) to T.
template <Scalar T>
Tensor<T> to_tensor(const Array& a) {
  check(a.rank() <= max_rank, "[to_tensor] an array of {} axes is more than {}", a.rank(), max_rank);
  return from_vector(a.convert<T>(), Shape(a.shape()));
}

/// An array of the tensor's shape and type.
template <Scalar T>
Array to_array(const Tensor<T>& t) {
  return Array(t.to_vector(), std::vector<std::int64_t>(t.shape().begin(), t.shape().end()));
}

}  // namespace flr::data
