// Causal FLARE as one operation, where a backend has a kernel for it (arXiv 2508.12594, causal
// form).
//
//   y_t = Σ_m p_tm z_tm,   p_t = softmax over m of s_t,   s_tm = scale · k_t·q_m,
//   z_tm = Σ_{τ≤t} κ_τ exp(s_τm − L_tm) v_τ,   L_tm = log Σ_{τ≤t} κ_τ exp(s_τm)
//   with g_t = dy_t, dp_tm = g_t·z_tm and, of what latents read later,
//     R_τm = Σ_{t≥τ} p_tm exp(−L_tm) g_t,   Q_τm = Σ_{t≥τ} p_tm exp(−L_tm) dp_tm
//   dv_τ = κ_τ Σ_m exp(s_τm) R_τm,   dk_τ = scale · Σ_m ds_τm q_m,   dq_m = scale · Σ_τ ds_τm k_τ,
//   ds_τm = p_τm (dp_τm − Σ_l p_τl dp_τl) + κ_τ exp(s_τm) (R_τm·v_τ − Q_τm)
// The definition in operations that every backend has is causal_flare of mixers/causal_flare.hpp.
// Saves q, k and v; states are computed again.
#pragma once

#include "flr/core/mixer_choice.hpp"
#include "flr/ops/sdpa.hpp"

namespace flr {

/// What comes with the tokens of fused_causal_flare.
template <class C>
struct FusedCausalFlare {
  double scale = 1;
  Tensor<std::uint8_t> keep =
      {};  ///< [B or 1,N]: tokens with 0 are not gathered; undefined: all are
  /// L [B,H,M] and z [B,H,M,D] of the tokens before these (undefined: there were none), which
  /// become those after them; both or none. A call with gradients takes none.
  Tensor<C>*lse = nullptr, *z = nullptr;
};

/// Latents q [H,M,E] or [B or 1,H,M,E], k [B,H,N,E], v [B,H,N,D] → [B,H,N,D]; undefined where the
/// backend has no kernel for it, for the caller to take the composition, which also says what is
/// wrong with other shapes.
template <Floating T>
Tensor<T> fused_causal_flare(const Tensor<T>& q_in, const Tensor<T>& k_in, const Tensor<T>& v_in,
                             const FusedCausalFlare<compute_t<T>>& o = {}) {
  using C = compute_t<T>;
  const bool heads =
      (q_in.rank() == 3 || q_in.rank() == 4) && k_in.rank() == 4 && v_in.rank() == 4 &&
      q_in.size(-1) == k_in.size(3) && q_in.size(-3) == k_in.size(1) &&
      (q_in.rank() == 3 || q_in.size(0) == 1 || q_in.size(0) == k_in.size(0)) &&
      v_in.size(0) == k_in.size(0) && v_in.size(1) == k_in.size(1) && v_in.size(2) == k_in.size(2);
  if (!heads || (o.lse && recording(q_in, k_in, v_in))) return {};
  const Tensor<T> four = q_in.rank() == 3 ? unsqueeze(q_in, 0) : q_in;
  CausalFlareParams<T> p;
  p.B = k_in.size(0), p.H = k_in.size(1), p.M = four.size(2), p.N = k_in.size(2),
  p.E = k_in.size(3);
  p.D = v_in.size(3), p.scale = static_cast<C>(o.scale);
  const auto& table = backend<T>(k_in.device());
  if (!takes_mixer_kernel<T>(
          "causal_flare", table.causal_flare, table.supports_causal_flare, p, [&] {
            return fmt::format("B={} H={} M={} N={} E={} D={}", p.B, p.H, p.M, p.N, p.E, p.D);
          }))
    return {};
  detail::bind_keep("causal_flare", p, o.keep, p.N);
  const Tensor<T> q = detail::readable_heads(four), k = detail::readable_heads(k_in),
                  v = detail::readable_heads(v_in);
  p.q = q.data(), p.k = k.data(), p.v = v.data();
  p.qs = detail::head_strides(q), p.ks = detail::head_strides(k), p.vs = detail::head_strides(v);
  Tensor<C> lse, z, lse_in, z_in;
  if (o.lse) {
    lse = Tensor<C>::empty({p.B, p.H, p.M}, k.device());
    z = Tensor<C>::empty({p.B, p.H, p.M, p.D}, k.device());
    p.lse_out = lse.mutable_data(), p.z_out = z.mutable_data();
    if (o.lse->defined()) {
      check(o.lse->shape() == lse.shape() && o.z->shape() == z.shape(),
            "[causal_flare] expected a state of {} and {}, got {} and {}", lse.shape(), z.shape(),
            o.lse->shape(), o.z->shape());
      lse_in = contiguous(*o.lse), z_in = contiguous(*o.z);
      p.lse_in = lse_in.data(), p.z_in = z_in.data();
    }
  }
  // Laid out as tokens, which is how the layer behind wants them.
  Tensor<T> y = permute(Tensor<T>::empty({p.B, p.N, p.H, p.D}, k.device()), {0, 2, 1, 3});
  p.y = y.mutable_data(), p.ys = detail::head_strides(y);
  table.causal_flare(p);
  if (o.lse) *o.lse = lse, *o.z = z;
  if (recording(q, k, v))
    record("causal_flare", y, Inputs(q, k, v),
           [f = p, q = save(q), k = save(k), v = save(v), keep = o.keep](Backward& b) {
             for (const Saved<T>* t : {&q, &k, &v}) t->get("causal_flare");
             const Tensor<T> dy = detail::readable_gradient<T>(b);
             CausalFlareBackwardParams<T> p;
             p.f = f, p.dy = dy.data(), p.dys = detail::head_strides(dy);
             const detail::HeadTargets<T> targets(b, "causal_flare", q, k, v, p);
             backend<T>(dy.device()).causal_flare_backward(p);
           });
  return y;
}

}  // namespace flr
