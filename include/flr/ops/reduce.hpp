// Sums, means, maxima and variances over axes.
//
//   sum: dx = dy;  mean: dx = dy/n;  variance: dx = 2 (x − mean)/(n − ddof) · dy;
//   max: dx = dy shared equally among the elements that attain the maximum.
#pragma once

#include "flr/ops/elementwise.hpp"
#include "flr/ops/views.hpp"

namespace flr {

namespace detail {

struct Axes {
  bool reduced[max_rank] = {};
  index_t count = 1;
  Shape kept, full;  ///< result shape without and with the reduced axes (as 1)
};

inline Axes find_axes(const Shape& shape, const Shape& axes, const char* operation) {
  Axes r;
  for (index_t a : axes) {
    const int i = shape.axis(static_cast<int>(a), operation);
    check(!r.reduced[i], "[{}] axis {} appears twice", operation, a);
    r.reduced[i] = true;
  }
  for (int i = 0; i < shape.rank(); ++i) {
    if (axes.empty()) r.reduced[i] = true;
    if (r.reduced[i]) r.count *= shape[i];
    else r.kept.push_back(shape[i]);
    r.full.push_back(r.reduced[i] ? 1 : shape[i]);
  }
  return r;
}

template <Floating T>
Tensor<T> reduce(const Tensor<T>& x, const Axes& axes, Reduction kind, double scale) {
  auto y = Tensor<T>::empty(axes.full, x.device());
  ReduceParams<T> p;
  p.kind = kind;
  p.scale = static_cast<compute_t<T>>(scale);
  for (int i = 0; i < x.rank(); ++i) {
    (axes.reduced[i] ? p.reduced : p.kept).push_back(x.size(i));
    (axes.reduced[i] ? p.reduced_strides : p.kept_strides).push_back(x.strides()[i]);
  }
  p.x = x.data();
  p.y = y.mutable_data();
  backend<T>(x.device()).reduce(p);
  return y;
}

template <Floating T>
Tensor<T> scaled_sum(const char* name, const Tensor<T>& x, const Shape& axes, bool keep,
                     bool average) {
  const Axes r = find_axes(x.shape(), axes, name);
  check(!average || r.count > 0, "[{}] shape {} has no elements to average", name, x.shape());
  const double scale = average ? 1.0 / static_cast<double>(r.count) : 1.0;
  Tensor<T> y = view_of(reduce(x, r, Reduction::sum, scale), keep ? r.full : r.kept,
                        contiguous_strides(keep ? r.full : r.kept));
  if (recording(x))
    record(name, y, Inputs(x), [full = r.full, shape = x.shape(), scale](Backward& b) {
      const Tensor<T> dy = reshape(b.grad<T>(), full);
      b.give(0, broadcast_to(scale == 1 ? dy : dy * static_cast<compute_t<T>>(scale), shape));
    });
  return y;
}

}  // namespace detail

/// Σ x over `axes` (all if none are named). `keep` leaves the reduced axes with extent 1.
template <Floating T>
Tensor<T> sum(const Tensor<T>& x, const Shape& axes = {}, bool keep = false) {
  return detail::scaled_sum("sum", x, axes, keep, false);
}

/// The mean over `axes` (all if none are named).
template <Floating T>
Tensor<T> mean(const Tensor<T>& x, const Shape& axes = {}, bool keep = false) {
  return detail::scaled_sum("mean", x, axes, keep, true);
}

/// The maximum over `axes` (all if none are named); NaN if there is one.
template <Floating T>
Tensor<T> max(const Tensor<T>& x, const Shape& axes = {}, bool keep = false) {
  const detail::Axes r = detail::find_axes(x.shape(), axes, "max");
  check(r.count > 0, "[max] shape {} has no elements to compare", x.shape());
  const Tensor<T> full = detail::reduce(x, r, Reduction::max, 1);
  Tensor<T> y = detail::view_of(full, keep ? r.full : r.kept,
                                contiguous_strides(keep ? r.full : r.kept));
  if (recording(x))
    record("max", y, Inputs(x),
           [x = save(x), m = save(full), r](Backward& b) {
             const Tensor<T> hit = map(_1 == _2, x.get("max"), m.get("max"));
             const Tensor<T> hits = detail::reduce(hit, r, Reduction::sum, 1);
             b.give(0, map(_1 * _2 / _3, hit, reshape(b.grad<T>(), r.full), hits));
           });
  return y;
}

/// The variance over `axes`, computed about the mean; `ddof` = 1 is the unbiased estimate.
template <Floating T>
Tensor<T> variance(const Tensor<T>& x, const Shape& axes = {}, int ddof = 1, bool keep = false) {
  const detail::Axes r = detail::find_axes(x.shape(), axes, "variance");
  check(r.count > ddof, "[variance] {} elements of shape {} are too few for ddof {}", r.count,
        x.shape(), ddof);
  const Tensor<T> squares = map(square(_1 - _2), x, mean(x, axes, true));
  return sum(squares, axes, keep) *
         static_cast<compute_t<T>>(1.0 / static_cast<double>(r.count - ddof));
}

/// The position of the first maximum along an axis.
template <Floating T>
Tensor<index_t> argmax(const Tensor<T>& x, int axis = -1) {
  const int a = x.shape().axis(axis, "argmax");
  check(x.size(a) > 0, "[argmax] axis {} of shape {} is empty", axis, x.shape());
  const index_t n = x.size(a);
  const std::vector<T> values = transpose(x.detach(), a, -1).contiguous().to_vector();
  std::vector<index_t> best(values.size() / static_cast<std::size_t>(n));
  for (std::size_t r = 0; r < best.size(); ++r)
    for (index_t j = 1; j < n; ++j)
      if (values[r * static_cast<std::size_t>(n) + static_cast<std::size_t>(j)] >
          values[r * static_cast<std::size_t>(n) + static_cast<std::size_t>(best[r])])
        best[r] = j;
  Shape shape = x.shape();
  std::swap(shape[a], shape[-1]);
  shape[-1] = 1;
  Tensor<index_t> y = transpose(from_vector(best, shape), a, -1);
  return squeeze(y, a);
}

}  // namespace flr
