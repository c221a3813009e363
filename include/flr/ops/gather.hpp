// Elements picked along an axis by an index tensor.
//
//   y[o, j, i] = x[o, index[o, j, i], i];   dx[o, index[o, j, i], i] += dy[o, j, i], in order of j.
#pragma once

#include "flr/ops/embedding.hpp"
#include "flr/ops/views.hpp"

namespace flr {

/// index has x's shape except along `axis`; the result has index's shape.
template <Floating T>
Tensor<T> gather(const Tensor<T>& x_in, int axis, const Tensor<index_t>& index_in) {
  const int a = x_in.shape().axis(axis, "gather");
  Shape expected = x_in.shape();
  if (index_in.rank() == x_in.rank()) expected[a] = index_in.size(a);
  check(index_in.shape() == expected,
        "[gather] expected an index of shape {} except along axis {}, got {}", x_in.shape(), axis,
        index_in.shape());
  const Tensor<T> x = contiguous(x_in);
  const Tensor<index_t> index = index_in.is_contiguous() ? index_in : index_in.clone();
  detail::check_indices("gather", index, x.size(a));
  GatherParams<T> p;
  p.outer = p.inner = 1;
  for (int i = 0; i < a; ++i) p.outer *= x.size(i);
  for (int i = a + 1; i < x.rank(); ++i) p.inner *= x.size(i);
  p.n = x.size(a), p.m = index.size(a);
  auto y = Tensor<T>::empty(index.shape(), x.device());
  p.index = index.data(), p.x = x.data(), p.y = y.mutable_data();
  backend<T>(x.device()).gather(p);
  if (recording(x))
    record("gather", y, Inputs(x), [f = p, index](Backward& b) {
      const Tensor<T> dy = b.grad<T>();
      auto dx = b.target<T>(0);
      backend<T>(dy.device()).gather_backward(
          {f.outer, f.n, f.m, f.inner, index.data(), dy.data(), dx.data(), dx.mode()});
    });
  return y;
}

/// Whole slices along an axis, in the order of a list of positions.
template <Floating T>
Tensor<T> index_select(const Tensor<T>& x, int axis, const std::vector<index_t>& positions) {
  const int a = x.shape().axis(axis, "index_select");
  Shape line;
  for (int i = 0; i < x.rank(); ++i) line.push_back(i == a ? static_cast<index_t>(positions.size()) : 1);
  Shape full = x.shape();
  full[a] = line[a];
  return gather(x, a, broadcast_to(from_vector(positions, line), full).clone().to(x.device()));
}

/// Elements along an axis in reverse.
template <Floating T>
Tensor<T> flip(const Tensor<T>& x, int axis) {
  const index_t n = x.size(x.shape().axis(axis, "flip"));
  std::vector<index_t> order;
  for (index_t i = n; i-- > 0;) order.push_back(i);
  return index_select(x, axis, order);
}

/// Elements along an axis moved by `shift` places, those beyond the end coming back in front.
template <Floating T>
Tensor<T> roll(const Tensor<T>& x, index_t shift, int axis) {
  const index_t n = x.size(x.shape().axis(axis, "roll"));
  std::vector<index_t> order;
  for (index_t i = 0; i < n; ++i) order.push_back(((i - shift) % n + n) % n);
  return index_select(x, axis, order);
}

}  // namespace flr
