// Tokens in bf16 on their way through a mixer: most mixers sum over all tokens and work in float,
// but kernels that sum in float themselves read bf16 as it is.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// A function of several tensors of scalars of type S.
template <class F, class S>
concept TakesTokens = std::invocable<const F&, std::vector<Tensor<S>>>;

/// f(x) for tokens in float or double, and where `kernels` says that the backend has kernels for
/// what f does in bf16, if f takes it; else f of the tokens in float, and its result in bf16.
template <Floating A, class F>
Tensor<A> in_own_type(const std::vector<Tensor<A>>& x, bool kernels, const F& f) {
  using C = compute_t<A>;
  if constexpr (std::same_as<A, C>) {
    return f(x);
  } else {
    if constexpr (TakesTokens<F, A>)
      if (kernels) return f(x);
    std::vector<Tensor<C>> wide;
    for (const Tensor<A>& t : x) wide.push_back(t.template to<C>());
    return f(wide).template to<A>();
  }
}

}  // namespace flr::mixers
