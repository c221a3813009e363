// recompute(fn, x…): forget what fn saves for backward, and run it again when backward needs it.
// Time for memory (Chen et al. 2016).
#pragma once

#include <array>
#include <tuple>

#include "flr/graph/backward.hpp"

namespace flr {

namespace detail {

/// x outside its graph, collecting its gradient where `target` says: the same contributions in the
/// same order and memory as without recompute, so the bits are the same.
template <Floating T>
Tensor<T> leaf_into(const Tensor<T>& x, GradTarget<T>& target) {
  Tensor<T> leaf_tensor = x.detach();
  if (!target.wanted()) return leaf_tensor;
  auto leaf = std::make_shared<Leaf>();
  TensorImpl& impl = leaf_tensor.impl();
  impl.slot = leaf->add_output({x.shape(), dtype_of<T>, x.device()});
  leaf->collect_in(target.tensor().ptr());
  if (target.accumulate()) leaf->mark_written(0);
  impl.requires_grad = true;
  impl.node = std::move(leaf);
  return leaf_tensor;
}

template <Floating T, std::size_t N, class F, std::size_t... I>
void recompute_backward(Backward& b, const F& fn, const std::array<Saved<T>, N>& saved,
                        const RandomState& before, std::index_sequence<I...>) {
  const Tensor<T> dy = b.grad<T>();
  std::array<GradTarget<T>, N> targets{b.target<T>(static_cast<int>(I))...};
  const std::array<Tensor<T>, N> x{leaf_into(saved[I].get("recompute"), targets[I])...};
  const RandomState now = random_state();
  random_state() = before;
  {
    EnableGrad scope;
    const Tensor<T> again = fn(x[I]...);
    random_state() = now;
    if (again.requires_grad()) backward(again, dy);
  }
  for (std::size_t i = 0; i < N; ++i)  // what nothing depended on
    if (targets[i].wanted() && leaf_of(x[i].impl())->stale(0)) targets[i].tensor().fill_(T{});
}

}  // namespace detail

/// y = fn(x…), where fn builds its result from its arguments and from parameters that it captures.
/// Only the x are saved. Random draws inside fn are the same both times.
template <class F, Floating T, std::same_as<Tensor<T>>... X>
Tensor<T> recompute(F fn, const Tensor<T>& x1, const X&... more) {
  if (!grad_enabled()) return fn(x1, more...);
  const RandomState before = random_state();
  Tensor<T> y = no_grad([&] { return fn(x1, more...).detach(); });

  constexpr std::size_t N = 1 + sizeof...(X);
  const std::array<Saved<T>, N> saved{save(x1), save(more)...};
  record("recompute", y, Inputs(x1, more...), [fn, saved, before](Backward& b) {
    detail::recompute_backward(b, fn, saved, before, std::make_index_sequence<N>{});
  });
  return y;
}

}  // namespace flr
