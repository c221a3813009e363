// Causal linear attention as one operation, where a backend has a kernel for it.
//
//   o_i = Σ_{j≤i} κ_j (φ(q_i)·φ(k_j)) v_j,   y_i = scale · o_i,
//   or divided by weights: y_i = o_i / d_i,   d_i = Σ_{j≤i} κ_j φ(q_i)·φ(k_j) + ε
//   with g_i = dy_i/d_i and e_i = −(dy_i·y_i)/d_i (undivided: g_i = scale · dy_i, e_i = 0)
//   dφ(q_i) = Σ_{j≤i} (g_i·v_j + e_i) κ_j φ(k_j),   dφ(k_j) = κ_j Σ_{i≥j} (g_i·v_j + e_i) φ(q_i),
//   dv_j = Σ_{i≥j} κ_j (φ(q_i)·φ(k_j)) g_i
// The definition in operations that every backend has is causal_linear_attention of
// mixers/causal_linear.hpp. Saves q, k, v, y and d.
#pragma once

#include "flr/core/mixer_choice.hpp"
#include "flr/ops/sdpa.hpp"

namespace flr {

/// Undivided or divided by weights, and what is done to q and k on the way.
struct FusedCausalLinear {
  double scale = 1;
  bool normalize = false;
  double epsilon = 1e-6;
  Feature feature = Feature::identity;
  Tensor<std::uint8_t> keep = {};  ///< [B or 1,N]: keys with 0 take no part; undefined: all do
};

/// q, k [B,H,N,E], v [B,H,N,D] → [B,H,N,D]; undefined where the backend has no kernel for it, for
/// the caller to take the composition.
template <Floating T>
Tensor<T> causal_linear(const Tensor<T>& q_in, const Tensor<T>& k_in, const Tensor<T>& v_in,
                        const FusedCausalLinear& o = {}) {
  using C = compute_t<T>;
  check(q_in.rank() == 4 && q_in.shape() == k_in.shape() && v_in.rank() == 4 &&
            v_in.size(0) == q_in.size(0) && v_in.size(1) == q_in.size(1) &&
            v_in.size(2) == q_in.size(2),
        "[causal_linear] expected q and k [B,H,N,E] and v [B,H,N,D]; got {}, {} and {}",
        q_in.shape(), k_in.shape(), v_in.shape());
  CausalLinearParams<T> p;
  p.B = q_in.size(0), p.H = q_in.size(1), p.N = q_in.size(2), p.E = q_in.size(3),
  p.D = v_in.size(3);
  p.normalize = o.normalize, p.feature = o.feature;
  p.scale = static_cast<C>(o.scale), p.epsilon = static_cast<C>(o.epsilon);
  const auto& table = backend<T>(q_in.device());
  if (!takes_mixer_kernel<T>("causal_linear", table.causal_linear, table.supports_causal_linear, p, [&] {
        return fmt::format("B={} H={} N={} E={} D={}", p.B, p.H, p.N, p.E, p.D);
      }))
    return {};
  detail::bind_keep("causal_linear", p, o.keep, p.N);
  const Tensor<T> q = detail::readable_heads(q_in), k = detail::readable_heads(k_in),
                  v = detail::readable_heads(v_in);
  p.q = q.data(), p.k = k.data(), p.v = v.data();
  p.qs = detail::head_strides(q), p.ks = detail::head_strides(k), p.vs = detail::head_strides(v);
  // Laid out as tokens, which is how the layer behind wants them.
  Tensor<T> y = permute(Tensor<T>::empty({p.B, p.N, p.H, p.D}, q.device()), {0, 2, 1, 3});
  auto d = Tensor<C>::empty(o.normalize ? Shape{p.B, p.H, p.N} : Shape{0}, q.device());
  p.y = y.mutable_data(), p.ys = detail::head_strides(y);
  p.d = o.normalize ? d.mutable_data() : nullptr;
  table.causal_linear(p);
  if (recording(q, k, v))
    record("causal_linear", y, Inputs(q, k, v),
           [f = p, q = save(q), k = save(k), v = save(v), y = save(y), d = save(d),
            keep = o.keep](Backward& b) {
             for (const Saved<T>* t : {&q, &k, &v, &y}) t->get("causal_linear");
             const Tensor<T> dy = detail::readable_gradient<T>(b);
             CausalLinearBackwardParams<T> p;
             p.f = f, p.dy = dy.data(), p.dys = detail::head_strides(dy);
             const detail::HeadTargets<T> targets(b, "causal_linear", q, k, v, p);
             backend<T>(dy.device()).causal_linear_backward(p);
           });
  return y;
}

}  // namespace flr
