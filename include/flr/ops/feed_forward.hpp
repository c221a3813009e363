// The transformer's feed-forward layer as one operation, where a backend has a kernel for it
// (Vaswani et al. 2017, arXiv 1706.03762, §3.3):
//
//   h = w1 x + b1, y = w2 act(h) + b2
//   dp = (w2ᵀ dy) ∘ act′(h), dx = w1ᵀ dp, dw1 = dp xᵀ, db1 = Σ dp, dw2 = dy act(h)ᵀ, db2 = Σ dy
// Saves x; the hidden activations, which are wider, are made again in backward.
#pragma once

#include "flr/core/mixer_choice.hpp"
#include "flr/ops/linear.hpp"

namespace flr {

/// The definition in two dense layers.
template <Floating T>
Tensor<T> feed_forward_composition(const Tensor<T>& x, const Tensor<T>& w1, const Tensor<T>& b1,
                                   const Tensor<T>& w2, const Tensor<T>& b2, Activation act) {
  return linear(linear(x, w1, b1, act), w2, b2);
}

/// x [.., in], w1 [hidden,in], b1 [hidden], w2 [out,hidden], b2 [out] → [.., out].
template <Floating T>
Tensor<T> feed_forward(const Tensor<T>& x_in, const Tensor<T>& w1_in, const Tensor<T>& b1_in,
                       const Tensor<T>& w2_in, const Tensor<T>& b2_in,
                       Activation act = Activation::gelu) {
  check(x_in.rank() >= 1 && w1_in.rank() == 2 && w2_in.rank() == 2 &&
            x_in.size(-1) == w1_in.size(1) && w2_in.size(1) == w1_in.size(0) &&
            b1_in.shape() == Shape{w1_in.size(0)} && b2_in.shape() == Shape{w2_in.size(0)},
        "[feed_forward] expected x [.., in], w1 [hidden,in], b1 [hidden], w2 [out,hidden] and b2 "
        "[out]; got {}, {}, {}, {} and {}",
        x_in.shape(), w1_in.shape(), b1_in.shape(), w2_in.shape(), b2_in.shape());
  FeedForwardParams<T> p;
  p.channels = w1_in.size(1), p.hidden = w1_in.size(0), p.act = act;
  p.rows = p.channels ? x_in.numel() / p.channels : 0;
  const auto& table = backend<T>(x_in.device());
  if (w2_in.size(0) != p.channels || !takes_mixer_kernel<T>(
          "feed_forward", table.feed_forward, table.supports_feed_forward, p, [&] {
            return fmt::format("rows={} channels={} hidden={}", p.rows, p.channels, p.hidden);
          }))
    return feed_forward_composition(x_in, w1_in, b1_in, w2_in, b2_in, act);

  const Tensor<T> x = contiguous(x_in), w1 = contiguous(w1_in), b1 = contiguous(b1_in);
  const Tensor<T> w2 = contiguous(w2_in), b2 = contiguous(b2_in);
  // Kernels load rows and weights 16 bytes at a time.
  const Tensor<T> rows = detail::aligned(x), first = detail::aligned(w1), second = detail::aligned(w2);
  auto y = Tensor<T>::empty(x.shape(), x.device());
  p.x = rows.data(), p.w1 = first.data(), p.b1 = b1.data(), p.w2 = second.data(), p.b2 = b2.data();
  p.y = y.mutable_data();
  table.feed_forward(p);
  if (recording(x, w1, b1, w2, b2))
    record("feed_forward", y, Inputs(x, w1, b1, w2, b2),
           [f = p, x = save(rows), w1 = save(first), b1 = save(b1), w2 = save(second)](Backward& back) {
             constexpr const char* name = "feed_forward";
             const Tensor<T> dy = detail::aligned(back.grad<T>());
             FeedForwardBackwardParams<T> p;
             p.f = f, p.f.y = nullptr, p.f.b2 = nullptr;
             p.f.x = x.get(name).data(), p.f.w1 = w1.get(name).data();
             p.f.b1 = b1.get(name).data(), p.f.w2 = w2.get(name).data();
             p.dy = dy.data();
             auto dx = back.target<T>(0);
             auto dw1 = back.target<compute_t<T>>(1), db1 = back.target<compute_t<T>>(2);
             auto dw2 = back.target<compute_t<T>>(3), db2 = back.target<compute_t<T>>(4);
             p.dx = dx.data(), p.dx_mode = dx.mode();
             p.dw1 = dw1.data(), p.dw1_mode = dw1.mode(), p.db1 = db1.data(), p.db1_mode = db1.mode();
             p.dw2 = dw2.data(), p.dw2_mode = dw2.mode(), p.db2 = db2.data(), p.db2_mode = db2.mode();
             backend<T>(dy.device()).feed_forward_backward(p);
           });
  return y;
}

}  // namespace flr
