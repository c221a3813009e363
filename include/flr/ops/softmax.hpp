// Softmax and log-softmax over any axis.
//
//   y = exp(x − max)/Σ, dx = y (dy − Σ y dy);   log: y = x − lse, dx = dy − eʸ Σ dy.
// Saves y.
#pragma once

#include "flr/ops/explain_table.hpp"
#include "flr/ops/reduce.hpp"
#include "flr/ops/views.hpp"

namespace flr {

namespace detail {

template <Floating T>
Tensor<T> softmax(const char* name, const Tensor<T>& x_in, int axis, bool log) {
  const int a = x_in.shape().axis(axis, name);
  const Tensor<T> x = contiguous(x_in);
  SoftmaxParams<T> p;
  p.outer = p.inner = 1;
  for (int i = 0; i < a; ++i) p.outer *= x.size(i);
  for (int i = a + 1; i < x.rank(); ++i) p.inner *= x.size(i);
  p.n = x.size(a);
  p.log = log;
  auto y = Tensor<T>::empty(x.shape(), x.device());
  p.x = x.data();
  p.y = y.mutable_data();
  explain_table(name, x);
  backend<T>(x.device()).softmax(p);
  if (recording(x))
    record(name, y, Inputs(x), [f = p, y = save(y), name](Backward& b) {
      const Tensor<T> dy = b.grad<T>();
      auto dx = b.target<T>(0);
      backend<T>(dy.device()).softmax_backward({f.outer, f.n, f.inner, f.log, y.get(name).data(),
                                                dy.data(), dx.data(), dx.mode()});
    });
  return y;
}

}  // namespace detail

template <Floating T>
Tensor<T> softmax(const Tensor<T>& x, int axis = -1) {
  return detail::softmax("softmax", x, axis, false);
}

template <Floating T>
Tensor<T> log_softmax(const Tensor<T>& x, int axis = -1) {
  return detail::softmax("log_softmax", x, axis, true);
}

/// The definitions in simple operations. The maximum only keeps exponentials in range: it carries no
/// gradient of its own.
template <Floating T>
Tensor<T> softmax_composition(const Tensor<T>& x, int axis = -1) {
  const Tensor<T> e = exp(x - max(x.detach(), {axis}, true));
  return e / sum(e, {axis}, true);
}
template <Floating T>
Tensor<T> log_softmax_composition(const Tensor<T>& x, int axis = -1) {
  const Tensor<T> shifted = x - max(x.detach(), {axis}, true);
  return shifted - log(sum(exp(shifted), {axis}, true));
}

}  // namespace flr
