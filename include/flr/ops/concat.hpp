// Tensors joined along an axis, and cut apart again.
#pragma once

#include "flr/ops/views.hpp"

namespace flr {

/// Joins tensors that agree in all axes but one. dxᵢ is the part of dy that xᵢ became.
template <Floating T>
Tensor<T> concat(const std::vector<Tensor<T>>& parts, int axis) {
  check(!parts.empty(), "[concat] expected at least one tensor");
  const int a = parts[0].shape().axis(axis, "concat");
  Shape shape = parts[0].shape();
  shape[a] = 0;
  bool tape = false;
  Inputs inputs;
  for (const Tensor<T>& x : parts) {
    Shape expected = shape;
    if (x.rank() == shape.rank()) expected[a] = x.size(a);
    check(x.shape() == expected, "[concat] shapes {} and {} differ outside axis {}",
          parts[0].shape(), x.shape(), axis);
    shape[a] += x.size(a);
    tape = tape || recording(x);
    inputs.edges.push_back(detail::edge_of(x));
  }
  auto y = Tensor<T>::empty(shape, parts[0].device());
  std::vector<index_t> ends;
  {
    NoGrad scope;
    index_t at = 0;
    for (const Tensor<T>& x : parts) {
      slice(y, a, at, at + x.size(a)).copy_(x);
      ends.push_back(at += x.size(a));
    }
  }
  if (tape)
    record("concat", y, inputs, [ends, a](Backward& b) {
      const Tensor<T> dy = b.grad_strided<T>();
      for (std::size_t i = 0; i < ends.size(); ++i)
        if (b.wants(static_cast<int>(i)))
          b.give(static_cast<int>(i), slice(dy, a, i ? ends[i - 1] : 0, ends[i]));
    });
  return y;
}

namespace detail {

/// The gradients of all results of a node, if they lie in one memory as the parts of a tensor of this
/// shape cut along an axis do: that tensor; else undefined.
template <Floating T>
Tensor<T> lying_together(Backward& b, const Shape& shape, int axis, const std::vector<index_t>& extents) {
  Tensor<T> first;
  index_t at = 0;
  for (std::size_t i = 0; i < extents.size(); at += extents[i++]) {
    if (!b.has_grad(static_cast<int>(i)) || extents[i] < 2) return {};  // an extent of 1 has no stride
    const Tensor<T> g = b.grad_strided<T>(static_cast<int>(i));
    if (!first.defined()) first = g;
    if (g.impl().storage != first.impl().storage ||
        g.impl().offset != first.impl().offset + at * first.strides()[axis])
      return {};
    for (int k = 0; k < shape.rank(); ++k)
      if (g.size(k) > 1 && g.strides()[k] != first.strides()[k]) return {};
  }
  return first.defined() ? view_of(first, shape, first.strides()) : first;
}

}  // namespace detail

/// Cuts an axis into parts of the given extents, which must add up to it. Views. Gradients of the parts
/// that lie together are the gradient of x as they are; others are copied. One node: a backward pass
/// through any part frees it for all, unless it retains the graph.
template <Scalar T>
std::vector<Tensor<T>> split(const Tensor<T>& x, const std::vector<index_t>& extents, int axis) {
  index_t total = 0;
  for (index_t e : extents) total += e;
  check(total == x.size(axis), "[split] parts add up to {}, axis {} of shape {} has {}", total, axis,
        x.shape(), x.size(axis));
  std::vector<Tensor<T>> parts;
  {
    NoGrad scope;
    index_t at = 0;
    for (index_t e : extents) {
      parts.push_back(slice(x, axis, at, at + e));
      at += e;
    }
  }
  if constexpr (Floating<T>) {
    if (recording(x))
      record("split", parts, Inputs(x),
             [shape = x.shape(), a = x.shape().axis(axis, "split"), extents](Backward& b) {
               const Tensor<T> whole = detail::lying_together<T>(b, shape, a, extents);
               if (whole.defined()) return b.give(0, whole);
               auto dx = b.target<T>(0);
               if (!dx.wanted()) return;
               bool all = true;
               for (std::size_t i = 0; i < extents.size(); ++i) all &= b.has_grad(static_cast<int>(i));
               if (!all && !dx.accumulate()) dx.tensor().fill_(T{});
               index_t at = 0;
               for (std::size_t i = 0; i < extents.size(); at += extents[i++]) {
                 if (!b.has_grad(static_cast<int>(i))) continue;
                 Tensor<T> part = slice(dx.tensor(), a, at, at + extents[i]);
                 detail::put_in_place(part, b.grad_strided<T>(static_cast<int>(i)), dx.accumulate());
               }
             });
  }
  return parts;
}

/// Cuts an axis into n equal parts. Views.
template <Scalar T>
std::vector<Tensor<T>> chunk(const Tensor<T>& x, index_t n, int axis) {
  check(n > 0 && x.size(axis) % n == 0, "[chunk] axis {} of shape {} does not divide into {} parts",
        axis, x.shape(), n);
  return split(x, std::vector<index_t>(static_cast<std::size_t>(n), x.size(axis) / n), axis);
}

}  // namespace flr
