// Causal linear attention: every query sees the keys up to its own (Katharopoulos et al. 2020, eq. 9),
// in chunks (Hua et al. 2022; Yang et al. 2024): within a chunk by its c×c products, across chunks by
// the sums of earlier ones.
//
//   y_i = scale · q_iᵀ S_i,   S_i = Σ_{j≤i} k_j v_jᵀ
//   in chunk n:   Y = scale · (tril(Q Kᵀ) V + Q S),   S = the sum of KᵀV over the chunks before n
//   normalize:    y_i = q_iᵀ S_i / (q_iᵀ Σ_{j≤i} k_j + ε), as one more column of V that is all ones
// O(N c (E + D) + N E D) work, memory linear in N. Where the backend has one operation for it
// (ops/causal_linear.hpp) and no state is carried, it takes that.
#pragma once

#include "flr/mixers/chunks.hpp"

namespace flr::mixers {

struct CausalLinearOptions {
  double scale = 1;
  bool normalize = false;
  double epsilon = 1e-6;
  index_t chunk = 64;
};

/// What one token leaves for the next: S [B,H,E,D], with normalize [B,H,E,D+1], of float where tokens
/// are bf16.
template <Floating C>
struct CausalLinearState {
  Tensor<C> s;
};

namespace detail {

template <Floating T>
Tensor<T> with_ones(const Tensor<T>& v, bool normalize) {
  if (!normalize) return v;
  return concat<T>({v, ones<T>({v.size(0), v.size(1), v.size(2), 1}, v.device())}, 3);
}

template <Floating T>
Tensor<T> without_ones(const Tensor<T>& y, const CausalLinearOptions& o) {
  if (!o.normalize) return y * static_cast<compute_t<T>>(o.scale);
  const index_t d = y.size(3) - 1;
  return map(_1 / (_2 + o.epsilon), slice(y, 3, 0, d), slice(y, 3, d, d + 1));
}

}  // namespace detail

/// q, k [B,H,N,E], v [B,H,N,D] → [B,H,N,D]. A `state` is where the tokens before these left off (or
/// undefined: there were none) and becomes where these do. bf16 is computed in float: sums over all
/// tokens would lose the later ones.
template <Floating T>
Tensor<T> causal_linear_attention(const Tensor<T>& q_in, const Tensor<T>& k_in,
                                  const Tensor<T>& v_in, const CausalLinearOptions& options = {},
                                  CausalLinearState<compute_t<T>>* state = nullptr) {
  check(q_in.rank() == 4 && q_in.shape() == k_in.shape() && v_in.rank() == 4 &&
            v_in.size(2) == q_in.size(2),
        "[causal_linear] expected q and k [B,H,N,E] and v [B,H,N,D]; got {}, {} and {}", q_in.shape(),
        k_in.shape(), v_in.shape());
  check(options.chunk > 0, "[causal_linear] expected a positive chunk, got {}", options.chunk);
  const index_t tokens = q_in.size(2);
  if (tokens == 0) return v_in;
  if (!state && v_in.size(0) == q_in.size(0) && v_in.size(1) == q_in.size(1)) {
    const Tensor<T> y = causal_linear<T>(
        q_in, k_in, v_in,
        {.scale = options.scale, .normalize = options.normalize, .epsilon = options.epsilon});
    if (y.defined()) return y;
  }
  const index_t c = std::min(options.chunk, tokens);
  using C = compute_t<T>;
  if constexpr (!std::same_as<T, C>) {
    return causal_linear_attention(q_in.template to<C>(), k_in.template to<C>(),
                                   v_in.template to<C>(), options, state)
        .template to<T>();
  } else {
    const Tensor<T> q = to_chunks(q_in, c), k = to_chunks(k_in, c);
    const Tensor<T> v = to_chunks(detail::with_ones(v_in, options.normalize), c);

    const Tensor<T> sums = matmul(transpose(k, -1, -2), v);  // [B,H,n,E,D]
    Shape one = sums.shape();
    one[2] = 1;
    const bool resumed = state && state->s.defined();
    const Tensor<T> first = resumed ? unsqueeze(state->s, 2) : zeros<T>(one, q.device());
    const Tensor<T> prefix = cumsum(concat<T>({first, sums}, 2), 2);  // n + 1: before each, and after
    const index_t n = sums.size(2);
    if (state) state->s = squeeze(slice(prefix, 2, n, n + 1), 2);

    const Tensor<T> within = matmul(q, transpose(k, -1, -2)) * lower_triangle<T>(c, q.device());
    const Tensor<T> y = matmul(within, v) + matmul(q, slice(prefix, 2, 0, n));
    return detail::without_ones(from_chunks(y, tokens), options);
  }
}

/// One token: q, k [B,H,1,E], v [B,H,1,D] → [B,H,1,D]. Time and memory do not depend on how many
/// came before.
template <Floating T>
Tensor<T> causal_linear_step(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                             const CausalLinearOptions& options,
                             CausalLinearState<compute_t<T>>& state) {
  using C = compute_t<T>;
  if constexpr (!std::same_as<T, C>) {
    return causal_linear_step(q.template to<C>(), k.template to<C>(), v.template to<C>(), options,
                              state)
        .template to<T>();
  } else {
    check(q.rank() == 4 && q.size(2) == 1,
          "[causal_linear_step] expected one token [B,H,1,E], got {}", q.shape());
    const Tensor<T> term = matmul(transpose(k, -1, -2), detail::with_ones(v, options.normalize));
    state.s = state.s.defined() ? state.s + term : term;
    return detail::without_ones(matmul(q, state.s), options);
  }
}

}  // namespace flr::mixers
