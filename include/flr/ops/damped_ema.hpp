// Multi-dimensional damped moving average (MEGA: Ma et al. 2022, arXiv 2209.10655, §3): every
// channel keeps `order` states that decay at rates of their own, and gives their weighted sum.
//
//   s_j[t] = r_j s_j[t−1] + x[t],   y[t] = Σ_j w_j s_j[t] = Σ_j w_j Σ_{τ≤t} r_j^{t−τ} x[τ]
//   g_j[t] = w_j dy[t] + r_j g_j[t+1],
//   dx[t] = Σ_j g_j[t],  dr_j = Σ_t g_j[t] s_j[t−1],  dw_j = Σ_t dy[t] s_j[t]
// with 0 < r < 1. Only powers r^k with k ≥ 0 appear, so it is right at any length. Saves x, r and
// w. One operation on the CPU, and on the GPU for float and bf16; else the composition below.
#pragma once

#include "flr/core/mixer_choice.hpp"
#include "flr/ops/matmul.hpp"
#include "flr/ops/scan.hpp"

namespace flr {

namespace detail {

/// 0, 1, …, n − 1 on a device.
template <Floating T>
Tensor<T> counting(index_t n, Device device) {
  return cumsum(ones<T>({n}, device), 0) - 1;
}

}  // namespace detail

/// The definition in operations that every backend has, in chunks of c tokens: within a chunk a
/// product with the c×c matrix Σ_j w_j r_j^{t−τ}, across chunks a scan of the states.
template <Floating T>
Tensor<T> damped_ema_composition(const Tensor<T>& x, const Tensor<T>& decay,
                                 const Tensor<T>& weight, bool reverse = false, index_t c = 64) {
  const index_t batch = x.size(0), tokens = x.size(1), channels = x.size(2), order = decay.size(1);
  c = std::min(c, tokens);
  if (x.numel() == 0) return x;
  const index_t n = (tokens + c - 1) / c, missing = n * c - tokens;
  const Tensor<T> whole =
      missing ? concat<T>({x, zeros<T>({batch, missing, channels}, x.device())}, 1) : x;
  const Tensor<T> chunks = reshape(permute(reshape(whole, {batch, n, c, channels}), {3, 2, 0, 1}),
                                   {channels, c, batch * n});

  // Distances in the direction of the recurrence: from each token of a chunk to each, and to the
  // first token outside.
  const Tensor<T> at = detail::counting<T>(c, x.device());
  const Tensor<T> rows = reshape(at, {c, 1}), columns = reshape(at, {1, c});
  const Tensor<T> distance = reverse ? columns - rows : rows - columns;
  const Tensor<T> to_end = reverse ? at : map((static_cast<double>(c) - 1) - _1, at);
  const Tensor<T> r = reshape(decay, {channels, order, 1}),
                  w = reshape(weight, {channels, 1, order});
  const Tensor<T> powers =
      map(where(_2 >= 0.0, pow(_1, max(_2, 0.0)), 0.0), r, reshape(distance, {1, 1, c * c}));
  const Tensor<T> within = matmul(reshape(matmul(w, powers), {channels, c, c}), chunks);

  const Tensor<T> ends = matmul(map(pow(_1, _2), r, reshape(to_end, {1, 1, c})), chunks);
  const Tensor<T> over_chunk =
      broadcast_to(map(pow(_1, static_cast<double>(c)), unsqueeze(r, 3)), {channels, order, 1, n});
  const Tensor<T> states = scan(over_chunk, reshape(ends, {channels, order, batch, n}), 3, reverse);
  const Tensor<T> none = zeros<T>({channels, order, batch, 1}, x.device());
  const Tensor<T> entering = reverse ? concat<T>({slice(states, 3, 1, n), none}, 3)
                                     : concat<T>({none, slice(states, 3, 0, n - 1)}, 3);
  const Tensor<T> reading =
      map(pow(_1, (static_cast<double>(c) - _2)), transpose(r, 1, 2), reshape(to_end, {1, c, 1})) *
      w;
  const Tensor<T> y = within + matmul(reading, reshape(entering, {channels, order, batch * n}));
  return slice(
      reshape(permute(reshape(y, {channels, c, batch, n}), {2, 3, 1, 0}), {batch, n * c, channels}),
      1, 0, tokens);
}

/// x [B,N,C], decay and weight [C,order] → [B,N,C]; with `reverse` from the last token to the
/// first.
template <Floating T>
Tensor<T> damped_ema(const Tensor<T>& x_in, const Tensor<compute_t<T>>& decay_in,
                     const Tensor<compute_t<T>>& weight_in, bool reverse = false) {
  using C = compute_t<T>;
  check(x_in.rank() == 3 && decay_in.rank() == 2 && decay_in.size(0) == x_in.size(2) &&
            weight_in.shape() == decay_in.shape(),
        "[damped_ema] expected x [B,N,C] and decay and weight [C,order]; got {}, {} and {}",
        x_in.shape(), decay_in.shape(), weight_in.shape());
  DampedEmaParams<T> p;
  p.batch = x_in.size(0), p.tokens = x_in.size(1), p.channels = x_in.size(2);
  p.order = decay_in.size(1), p.reverse = reverse;
  const auto& table = backend<T>(x_in.device());
  if (!takes_mixer_kernel<T>("damped_ema", table.damped_ema, table.supports_damped_ema, p, [&] {
        return fmt::format("B={} N={} C={} order={}", p.batch, p.tokens, p.channels, p.order);
      }))
    return damped_ema_composition(x_in.template to<C>(), decay_in, weight_in, reverse)
        .template to<T>();
  const Tensor<T> x = contiguous(x_in);
  const Tensor<C> decay = contiguous(decay_in), weight = contiguous(weight_in);
  auto y = Tensor<T>::empty(x.shape(), x.device());
  p.x = x.data(), p.decay = decay.data(), p.weight = weight.data(), p.y = y.mutable_data();
  table.damped_ema(p);
  if (recording(x, decay, weight))
    record("damped_ema", y, Inputs(x, decay, weight),
           [f = p, x = save(x), decay = save(decay), weight = save(weight)](Backward& b) {
             DampedEmaBackwardParams<T> p;
             const Tensor<T> dy = b.grad<T>();
             auto dx = b.target<T>(0);
             auto ddecay = b.target<C>(1), dweight = b.target<C>(2);
             p.f = f;
             p.f.x = x.get("damped_ema").data();
             p.f.decay = decay.get("damped_ema").data();
             p.f.weight = weight.get("damped_ema").data();
             p.dy = dy.data();
             p.dx = dx.data(), p.ddecay = ddecay.data(), p.dweight = dweight.data();
             p.dx_mode = dx.mode(), p.ddecay_mode = ddecay.mode(), p.dweight_mode = dweight.mode();
             backend<T>(dy.device()).damped_ema_backward(p);
           });
  return y;
}

}  // namespace flr
