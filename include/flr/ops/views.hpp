// Other ways to look at the same data: reshape, permute, slice, broadcast. No element moves (except
// where reshape cannot be a view); the gradient flows back through the inverse view.
#pragma once

#include "flr/ops/sum_to.hpp"

namespace flr {

namespace detail {

template <Scalar T>
Tensor<T> view_of(const Tensor<T>& x, const Shape& shape, const Shape& strides, index_t shift = 0) {
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = x.impl().storage;
  impl->offset = x.impl().offset + shift;
  impl->shape = shape;
  impl->strides = strides;
  impl->dtype = dtype_of<T>;
  return Tensor<T>(std::move(impl));
}

/// Records a view whose gradient is `back(dy)`, another view.
template <Scalar T, class F>
Tensor<T> record_view(const char* name, const Tensor<T>& x, Tensor<T> y, F back) {
  if constexpr (Floating<T>) {
    if (recording(x))
      record(name, y, Inputs(x),
             [back](Backward& b) { b.give(0, back(b.grad_strided<T>())); });
  }
  return y;
}

}  // namespace detail

/// The same elements in row-major order under another shape; one extent may be −1. A view where
/// the strides allow it, else a copy.
template <Scalar T>
Tensor<T> reshape(const Tensor<T>& x, Shape shape) {
  index_t known = 1;
  int open = -1;
  for (int a = 0; a < shape.rank(); ++a) {
    if (shape[a] == -1) {
      check(open < 0, "[reshape] only one extent may be -1; got {}", shape);
      open = a;
    } else known *= shape[a];
  }
  if (open >= 0 && known > 0) shape[open] = x.numel() / known;
  check(shape.numel() == x.numel(), "[reshape] shape {} of {} elements cannot become {}", x.shape(),
        x.numel(), shape);
  const Shape from = x.shape();
  // A view exists if every run of axes that is merged or split is itself contiguous.
  Shape strides = contiguous_strides(shape);
  bool view = x.is_contiguous();
  if (!view) {
    int i = 0;  // walks the axes of x, extents of 1 left out
    Shape extents, steps;
    for (int a = 0; a < x.rank(); ++a)
      if (x.size(a) != 1) extents.push_back(x.size(a)), steps.push_back(x.strides()[a]);
    view = x.numel() > 0;
    for (int a = 0; a < shape.rank() && view;) {
      if (shape[a] == 1) { strides[a++] = 1; continue; }
      index_t want = shape[a], have = i < extents.rank() ? extents[i] : 1;
      int a_end = a + 1, i_end = i + 1;
      while (want != have) {
        if (want < have && a_end < shape.rank()) want *= shape[a_end++];
        else if (want > have && i_end < extents.rank()) have *= extents[i_end++];
        else break;
      }
      for (int k = i; k + 1 < i_end; ++k) view = view && steps[k] == steps[k + 1] * extents[k + 1];
      index_t step = steps[i_end - 1];
      for (int k = a_end - 1; k >= a; --k) {
        strides[k] = step;
        step *= shape[k];
      }
      a = a_end;
      i = i_end;
    }
  }
  Tensor<T> y = view ? detail::view_of(x, shape, strides) : detail::view_of(x.clone(), shape,
                                                                            contiguous_strides(shape));
  return detail::record_view("reshape", x, y, [from](const Tensor<T>& dy) { return reshape(dy, from); });
}

/// Axes in another order: axis a of the result is axis order[a] of x.
template <Scalar T>
Tensor<T> permute(const Tensor<T>& x, const Shape& order) {
  check(order.rank() == x.rank(), "[permute] shape {} takes {} axes, got {}", x.shape(), x.rank(),
        order);
  Shape shape, strides, inverse = order;
  bool seen[max_rank] = {};
  for (int a = 0; a < x.rank(); ++a) {
    const int from = x.shape().axis(static_cast<int>(order[a]), "permute");
    check(!seen[from], "[permute] axis {} appears twice in {}", from, order);
    seen[from] = true;
    shape.push_back(x.size(from));
    strides.push_back(x.strides()[from]);
    inverse[from] = a;
  }
  return detail::record_view("permute", x, detail::view_of(x, shape, strides),
                             [inverse](const Tensor<T>& dy) { return permute(dy, inverse); });
}

/// Two axes exchanged.
template <Scalar T>
Tensor<T> transpose(const Tensor<T>& x, int a, int b) {
  Shape order;
  for (int i = 0; i < x.rank(); ++i) order.push_back(i);
  std::swap(order[x.shape().axis(a, "transpose")], order[x.shape().axis(b, "transpose")]);
  return permute(x, order);
}

/// An axis of extent 1 put in before `axis`.
template <Scalar T>
Tensor<T> unsqueeze(const Tensor<T>& x, int axis) {
  const int at = axis < 0 ? axis + x.rank() + 1 : axis;
  check(0 <= at && at <= x.rank(), "[unsqueeze] axis {} does not fit shape {}", axis, x.shape());
  Shape shape = x.shape();
  shape.insert(at, 1);
  return reshape(x, shape);
}

/// x without an axis of extent 1.
template <Scalar T>
Tensor<T> squeeze(const Tensor<T>& x, int axis) {
  const int a = x.shape().axis(axis, "squeeze");
  check(x.size(a) == 1, "[squeeze] axis {} of shape {} is not of extent 1", axis, x.shape());
  Shape shape = x.shape();
  shape.erase(a);
  return reshape(x, shape);
}

/// Elements begin, begin + step, … below end of an axis. Negative positions count from the end.
template <Scalar T>
Tensor<T> slice(const Tensor<T>& x, int axis, index_t begin, index_t end, index_t step = 1) {
  const int a = x.shape().axis(axis, "slice");
  const index_t n = x.size(a);
  if (begin < 0) begin += n;
  if (end < 0) end += n;
  check(0 <= begin && begin <= end && end <= n && step > 0,
        "[slice] {}:{}:{} does not fit axis {} of shape {}", begin, end, step, axis, x.shape());
  Shape shape = x.shape();
  shape[a] = (end - begin + step - 1) / step;
  Shape strides = x.strides();
  const index_t shift = begin * strides[a];
  strides[a] *= step;
  Tensor<T> y = detail::view_of(x, shape, strides, shape[a] > 0 ? shift : 0);
  if constexpr (Floating<T>) {
    if (recording(x))
      record("slice", y, Inputs(x), [a, begin, end, step](Backward& b) {
        auto dx = b.target<T>(0);
        if (!dx.accumulate()) dx.tensor().fill_(T{});
        NoGrad scope;
        Tensor<T> part = slice(dx.tensor(), a, begin, end, step);
        detail::add_in_place(part, b.grad_strided<T>());
      });
  }
  return y;
}

/// x seen under a larger shape; broadcast axes have stride 0 and must not be written to.
template <Scalar T>
Tensor<T> broadcast_to(const Tensor<T>& x, const Shape& shape) {
  check(broadcast_shapes(x.shape(), shape, "broadcast_to") == shape,
        "[broadcast_to] shape {} does not broadcast to {}", x.shape(), shape);
  Tensor<T> y = detail::view_of(x, shape, detail::broadcast_strides(x.shape(), x.strides(), shape));
  if constexpr (Floating<T>) {
    if (recording(x))
      record("broadcast_to", y, Inputs(x), [](Backward& b) {
        auto dx = b.target<T>(0);
        detail::sum_to(b.grad_strided<T>(), dx);
      });
  }
  return y;
}

/// x itself if its elements lie in row-major order, else a copy where they do.
template <Scalar T>
Tensor<T> contiguous(const Tensor<T>& x) {
  if (x.is_contiguous()) return x;
  return detail::record_view("contiguous", x, x.clone(), [](const Tensor<T>& dy) { return dy; });
}

namespace detail {

/// The same contiguous values where 16 bytes may be loaded at once; a copy has no graph behind it.
template <Scalar T>
Tensor<T> aligned(const Tensor<T>& x) {
  return reinterpret_cast<std::uintptr_t>(x.data()) % 16 ? x.detach().clone() : x;
}

}  // namespace detail

template <Scalar T>
Tensor<T> Tensor<T>::reshape(const Shape& shape) const { return flr::reshape(*this, shape); }
template <Scalar T>
Tensor<T> Tensor<T>::permute(const Shape& axes) const { return flr::permute(*this, axes); }
template <Scalar T>
Tensor<T> Tensor<T>::transpose(int a, int b) const { return flr::transpose(*this, a, b); }
template <Scalar T>
Tensor<T> Tensor<T>::slice(int axis, index_t begin, index_t end, index_t step) const {
  return flr::slice(*this, axis, begin, end, step);
}
template <Scalar T>
Tensor<T> Tensor<T>::contiguous() const { return flr::contiguous(*this); }
template <Scalar T>
Tensor<T> Tensor<T>::operator[](index_t i) const {
  const index_t n = size(0), at = i < 0 ? i + n : i;
  check(0 <= at && at < n, "[index] {} is outside shape {}", i, shape());
  return squeeze(flr::slice(*this, 0, at, at + 1), 0);
}

}  // namespace flr
