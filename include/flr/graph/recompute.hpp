// recompute(fn, x…): forget what fn saves for backward, and run it again when backward needs it.
// Time for memory (Chen et al. 2016).
#pragma once

#include <array>
#include <tuple>

#include "flr/graph/backward.hpp"

namespace flr {

/// y = fn(x…), where fn builds its result from its arguments and from parameters that it captures.
/// Only the x are saved. Random draws inside fn are the same both times.
template <class F, Floating T, std::same_as<Tensor<T>>... X>
Tensor<T> recompute(F fn, const Tensor<T>& x1, const X&... more) {
  if (!grad_enabled()) return fn(x1, more...);
  const RandomState before = random_state();
  Tensor<T> y = no_grad([&] { return fn(x1, more...).detach(); });

  constexpr std::size_t N = 1 + sizeof...(X);
  std::array<Saved<T>, N> saved{save(x1), save(more)...};
  record("recompute", y, Inputs(x1, more...), [fn, saved, before](Backward& b) {
    const RandomState now = random_state();
    std::array<Tensor<T>, N> x;
    for (std::size_t i = 0; i < N; ++i) {
      x[i] = saved[i].get("recompute").detach();
      if (b.wants(static_cast<int>(i))) x[i].requires_grad(true);
    }
    random_state() = before;
    {
      EnableGrad scope;
      Tensor<T> again = std::apply([&](const auto&... t) { return fn(t...); }, x);
      random_state() = now;
      if (again.requires_grad()) backward(again, b.grad<T>());
    }
    for (std::size_t i = 0; i < N; ++i)
      if (b.wants(static_cast<int>(i)))
        b.give(static_cast<int>(i), Tensor<T>(x[i].grad().template to<T>()));
  });
  return y;
}

}  // namespace flr
