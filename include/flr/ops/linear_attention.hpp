// Linear attention as one operation, where a backend has a kernel for it (Katharopoulos et al. 2020,
// arXiv 2006.16236, eq. 5).
//
//   S = Σ_j κ_j φ(k_j) v_jᵀ,   z = Σ_j κ_j φ(k_j),   d_i = φ(q_i)·z + ε,   y_i = Sᵀφ(q_i) / d_i
//   with e_i = −(dy_i·y_i)/d_i,   R = Σ_i φ(q_i) dy_iᵀ/d_i,   w = Σ_i e_i φ(q_i)
//   dφ(q_i) = S dy_i/d_i + e_i z,   dφ(k_j) = κ_j (R v_j + w),   dv_j = κ_j Rᵀφ(k_j)
// φ may be of length 1, φ/(‖φ‖ + 10⁻⁶). The definition in operations that every backend has is
// linear_attention of mixers/linear.hpp. Saves q, k, v, S and z; features are computed again.
#pragma once

#include "flr/core/mixer_choice.hpp"
#include "flr/ops/sdpa.hpp"

namespace flr {

/// What is done to q and k on the way.
struct FusedLinearAttention {
  double epsilon = 1e-6;
  Feature feature = Feature::identity;
  bool unit_q = false, unit_k = false;  ///< features as unit vectors
  Tensor<std::uint8_t> keep = {};  ///< [B or 1,Nk]: keys with 0 take no part; undefined: all do
};

/// q [B,H,Nq,D], k, v [B,H,Nk,D] → [B,H,Nq,D]; undefined where the backend has no kernel for it, for
/// the caller to take the composition.
template <Floating T>
Tensor<T> fused_linear_attention(const Tensor<T>& q_in, const Tensor<T>& k_in, const Tensor<T>& v_in,
                                 const FusedLinearAttention& o = {}) {
  using C = compute_t<T>;
  check(q_in.rank() == 4 && k_in.rank() == 4 && k_in.shape() == v_in.shape() &&
            q_in.size(0) == k_in.size(0) && q_in.size(1) == k_in.size(1) && q_in.size(3) == k_in.size(3),
        "[linear_attention] expected q [B,H,Nq,D] and k and v [B,H,Nk,D]; got {}, {} and {}",
        q_in.shape(), k_in.shape(), v_in.shape());
  const auto& table = backend<T>(q_in.device());
  const Tensor<T> q = detail::readable_heads(q_in), k = detail::readable_heads(k_in),
                  v = detail::readable_heads(v_in);
  LinearAttentionParams<T> p;
  p.B = q.size(0), p.H = q.size(1), p.Nq = q.size(2), p.Nk = k.size(2), p.D = q.size(3);
  p.feature = o.feature, p.epsilon = static_cast<C>(o.epsilon);
  p.unit_q = o.unit_q, p.unit_k = o.unit_k;
  p.q = q.data(), p.k = k.data(), p.v = v.data();
  p.qs = detail::head_strides(q), p.ks = detail::head_strides(k), p.vs = detail::head_strides(v);
  if (!takes_mixer_kernel<T>("linear_attention", table.linear_attention, table.supports_linear_attention, p, [&] {
        return fmt::format("B={} H={} Nq={} Nk={} D={}", p.B, p.H, p.Nq, p.Nk, p.D);
      }))
    return {};
  detail::bind_keep("linear_attention", p, o.keep, p.Nk);
  // Laid out as tokens, which is how the layer behind wants them.
  Tensor<T> y = permute(Tensor<T>::empty({p.B, p.Nq, p.H, p.D}, q.device()), {0, 2, 1, 3});
  auto state = Tensor<C>::empty({p.B, p.H, p.D, p.D + 1}, q.device());
  p.y = y.mutable_data(), p.ys = detail::head_strides(y);
  p.state = state.mutable_data();
  table.linear_attention(p);
  if (recording(q, k, v))
    record("linear_attention", y, Inputs(q, k, v),
           [f = p, q = save(q), k = save(k), v = save(v), state = save(state),
            keep = o.keep](Backward& b) {
             for (const Saved<T>* t : {&q, &k, &v}) t->get("linear_attention");
             const Tensor<T> dy = detail::readable_gradient<T>(b, 16);
             LinearAttentionBackwardParams<T> p;
             p.f = f, p.dy = dy.data(), p.dys = detail::head_strides(dy);
             const detail::HeadTargets<T> targets(b, "linear_attention", q, k, v, p);
             backend<T>(dy.device()).linear_attention_backward(p);
           });
  return y;
}

}  // namespace flr
