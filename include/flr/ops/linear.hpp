// The dense layer: y = act(x wᵀ + b), fused with its bias and activation.
//
//   p = x wᵀ + b, y = act(p);   dp = dy · act′(p), dx = dp w, dw = dpᵀ x, db = Σ dp.
// Saves x, w and, with an activation, p.
#pragma once

#include "flr/ops/elementwise.hpp"
#include "flr/ops/matmul.hpp"

namespace flr {

/// Applies an activation by name.
template <Floating T>
Tensor<T> activate(const Tensor<T>& x, Activation act) {
  switch (act) {
    case Activation::identity: return x;
    case Activation::relu: return relu(x);
    case Activation::gelu: return gelu(x);
    case Activation::gelu_tanh: return gelu_tanh(x);
    case Activation::silu: return silu(x);
    case Activation::tanh: return tanh(x);
    case Activation::sigmoid: return sigmoid(x);
  }
  fail("[activate] unknown activation {}", static_cast<int>(act));
}

/// x [.., in], w [out, in], b [out] or undefined → [.., out].
template <Floating T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& b = {},
                 Activation act = Activation::identity) {
  check(w.rank() == 2 && x.rank() >= 1 && x.size(-1) == w.size(1),
        "[linear] expected x [.., in] and w [out, in]; got {} and {}", x.shape(), w.shape());
  check(!b.defined() || b.shape() == Shape{w.size(0)}, "[linear] expected a bias [{}], got {}",
        w.size(0), b.defined() ? b.shape().str() : "none");
  const Tensor<T> in = contiguous(x), weight = contiguous(w), bias = b;
  Shape shape = x.shape();
  shape[-1] = w.size(0);
  auto y = Tensor<T>::empty(shape, x.device());
  const bool tape = b.defined() ? recording(x, w, b) : recording(x, w);
  Tensor<T> pre;
  if (tape && act != Activation::identity) pre = Tensor<T>::empty(shape, x.device());

  LinearParams<T> p;
  p.in = w.size(1), p.out = w.size(0), p.rows = p.in ? in.numel() / p.in : p.out ? shape.numel() / p.out : 0;
  p.x = in.data(), p.w = weight.data(), p.b = b.defined() ? b.data() : nullptr;
  p.act = act;
  p.y = y.mutable_data();
  p.pre = pre.defined() ? pre.mutable_data() : nullptr;
  backend<T>(x.device()).linear(p);

  if (tape)
    record("linear", y, Inputs(in, weight, bias),
           [x = save(in), w = save(weight), pre = save(pre), act, rows = p.rows](Backward& back) {
             const Tensor<T> dy = back.grad<T>();
             LinearBackwardParams<T> p;
             p.rows = rows, p.in = w.get("linear").size(1), p.out = w.get("linear").size(0);
             p.x = x.get("linear").data(), p.w = w.get("linear").data();
             p.pre = pre.get("linear").defined() ? pre.get("linear").data() : nullptr;
             p.dy = dy.data();
             p.act = act;
             auto dx = back.target<T>(0);
             auto dw = back.target<compute_t<T>>(1), db = back.target<compute_t<T>>(2);
             p.dx = dx.data(), p.dw = dw.data(), p.db = db.data();
             p.dx_mode = dx.mode(), p.dw_mode = dw.mode(), p.db_mode = db.mode();
             backend<T>(dy.device()).linear_backward(p);
           });
  return y;
}

/// The definition in simple operations.
template <Floating T>
Tensor<T> linear_composition(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& b,
                             Activation act = Activation::identity) {
  return activate(matmul(x, transpose(w, 0, 1)) + b, act);
}

}  // namespace flr
