// Sums of outer products of token vectors, and what tokens read from them, where the backend has
// kernels for it: the states of linear attention and of mixers of higher order
// (mixers/outer_product.hpp has the composition).
//
//   outer_state: S_{i₀i₁…} = scale · Σ_n x₀[n,i₀] x₁[n,i₁] …
//   outer_read:  y[n,j] = Σ_{i₀…} x₀[n,i₀] x₁[n,i₁] … S_{i₀i₁…j}
// Two nodes that meet at S. Both are multilinear, so that all gradients are of these two kinds
// again: that of S is a state of the readers and what came back to them, that of an operand is read
// from S, or from its gradient, by all others. No feature and no gradient of one is ever in memory.
#pragma once

#include <algorithm>

#include "flr/core/explain.hpp"
#include "flr/core/mixer_choice.hpp"
#include "flr/ops/flare.hpp"

namespace flr {

namespace detail {

/// [B,H,N,D] tensors as operands, of which there may be one more than is here.
template <Floating T>
OuterOperands<T> outer_operands(const std::vector<Tensor<T>>& x, std::size_t operands) {
  OuterOperands<T> p;
  p.B = x[0].size(0), p.H = x[0].size(1), p.N = x[0].size(2), p.D = x[0].size(3);
  p.operands = static_cast<int>(operands);
  for (std::size_t a = 0; a < x.size(); ++a) p.x[a] = x[a].data(), p.xs[a] = head_strides(x[a]);
  return p;
}

template <Floating T>
bool begins_aligned(const Tensor<T>& x) {
  return reinterpret_cast<std::uintptr_t>(x.data()) % 16 == 0;
}

template <Floating T>
std::vector<Saved<T>> save_all(const std::vector<Tensor<T>>& x) {
  std::vector<Saved<T>> saved;
  for (const Tensor<T>& t : x) saved.push_back(save(t));
  return saved;
}

/// Reads the gradients of the operands from a state into their places.
template <Floating T>
void outer_gradients(const char* operation, Backward& b, OuterReadParams<T>& p,
                     const std::vector<Saved<T>>& x) {
  std::vector<GradTarget<T>> targets;
  targets.reserve(x.size());
  for (std::size_t a = 0; a < x.size(); ++a) {
    targets.push_back(b.target_as<T>(static_cast<int>(a), x[a].get(operation)));
    p.y[a] = targets[a].data(), p.mode[a] = targets[a].mode();
    if (targets[a].wanted()) p.ys[a] = head_strides(targets[a].tensor());
  }
  backend<T>(x[0].get(operation).device()).outer_read(p);
}

template <Floating T>
bool any_records(const std::vector<Tensor<T>>& x) {
  return std::any_of(x.begin(), x.end(), [](const Tensor<T>& t) { return recording(t); });
}

}  // namespace detail

/// Whether outer_state takes x, `operands` = as many, or outer_read takes x, one less, and the
/// state. FLR_EXPLAIN=1 says why not, under the mixer's name.
template <Floating T>
bool has_outer_kernels(const char* operation, const std::vector<Tensor<T>>& x, std::size_t operands,
                       const Tensor<T>& state = {}) {
  if (x.empty() || !backend<T>(x[0].device()).supports_outer) return false;
  std::string why;
  const auto takes = [&] {
    const auto refuse = [&](const char* reason) {
      why = reason;
      return false;
    };
    if (!fused_mixers_allowed()) return refuse("FLR_MIXER=composition");
    if (operands > std::size_t{max_outer_operands}) return refuse("more than 4 operands");
    for (const Tensor<T>& t : x)
      if (t.rank() != 4 || t.shape() != x[0].shape() || t.device() != x[0].device() ||
          !detail::rows_aligned(t))
        return refuse("operands are not of one shape with rows aligned to 16 bytes");
    if (state.defined()) {
      index_t features = 1;
      for (const Tensor<T>& t : x) features *= t.size(3);
      if (state.shape() != Shape{x[0].size(0), x[0].size(1), features, x[0].size(3)} ||
          !detail::begins_aligned(state))
        return refuse("a state of another shape, or that does not begin at a multiple of 16 bytes");
    }
    return backend<T>(x[0].device()).supports_outer(detail::outer_operands(x, operands), &why);
  }();
  explain([&] {
    return fmt::format("[{}] {} operands {} {}: {}", operation, operands, x[0].shape(),
                       name_of(dtype_of<T>),
                       takes ? "kernels for outer products" : "composition; " + why);
  });
  return takes;
}

/// Operands x [B,H,N,D], two to four of them → S [B,H,D^(operands−1),D], the last operand's axis
/// fastest. For what has_outer_kernels() says is taken.
template <Floating T>
Tensor<T> outer_state(const std::vector<Tensor<T>>& x, double scale) {
  OuterStateParams<T> p;
  static_cast<OuterOperands<T>&>(p) = detail::outer_operands(x, x.size());
  p.scale = static_cast<compute_t<T>>(scale);
  index_t features = 1;
  for (std::size_t a = 0; a + 1 < x.size(); ++a) features *= p.D;
  Tensor<T> s = Tensor<T>::empty({p.B, p.H, features, p.D}, x[0].device());
  p.state = s.mutable_data();
  backend<T>(s.device()).outer_state(p);
  if (!detail::any_records(x)) return s;
  Inputs inputs;
  for (const Tensor<T>& t : x) inputs.edges.push_back(detail::edge_of(t));
  record("outer_state", s, inputs, [f = p, x = detail::save_all(x)](Backward& b) {
    Tensor<T> ds = b.grad<T>();
    if (!detail::begins_aligned(ds)) ds = ds.clone();
    OuterReadParams<T> p;
    static_cast<OuterOperands<T>&>(p) = f;
    p.scale = f.scale, p.state = ds.data();
    detail::outer_gradients("outer_state", b, p, x);
  });
  return s;
}

/// Factors x [B,H,N,D], one to three of them, and S [B,H,D^factors,D] → y [B,H,N,D], laid out as
/// [B,N,H,D]. For what has_outer_kernels() says is taken.
template <Floating T>
Tensor<T> outer_read(const std::vector<Tensor<T>>& x, const Tensor<T>& state_in) {
  const Tensor<T> state = contiguous(state_in);
  const int axis = static_cast<int>(x.size());
  OuterReadParams<T> p;
  static_cast<OuterOperands<T>&>(p) = detail::outer_operands(x, x.size() + 1);
  p.state = state.data();
  auto storage = Tensor<T>::empty({p.B, p.N, p.H, p.D}, state.device());
  Tensor<T> y = permute(storage, {0, 2, 1, 3});
  p.y[axis] = y.mutable_data(), p.ys[axis] = {p.N * p.H * p.D, p.D, p.H * p.D};
  p.mode[axis] = GradMode::overwrite;
  backend<T>(state.device()).outer_read(p);
  if (!detail::any_records(x) && !recording(state)) return y;
  Inputs inputs;
  for (const Tensor<T>& t : x) inputs.edges.push_back(detail::edge_of(t));
  inputs.edges.push_back(detail::edge_of(state));
  record("outer_read", y, inputs,
         [f = p, axis, x = detail::save_all(x), state = save(state)](Backward& b) {
           Tensor<T> dy = b.grad_strided<T>();
           if (!detail::rows_aligned(dy)) dy = dy.clone();
           OuterOperands<T> operands = f;
           operands.x[axis] = dy.data();
           operands.xs[axis] = {dy.strides()[0], dy.strides()[1], dy.strides()[2]};
           {
             auto ds = b.target<T>(axis);
             OuterStateParams<T> p;
             static_cast<OuterOperands<T>&>(p) = operands;
             p.state = ds.data(), p.mode = ds.mode();
             for (const Saved<T>& t : x) t.get("outer_read");
             backend<T>(dy.device()).outer_state(p);
           }
           OuterReadParams<T> p;
           static_cast<OuterOperands<T>&>(p) = operands;
           p.state = state.get("outer_read").data();
           detail::outer_gradients("outer_read", b, p, x);
         });
  return y;
}

}  // namespace flr
