// The performer's attention as one operation, where a backend has a kernel for it (Choromanski et al.
// 2021, arXiv 2009.14794). core/performer_params.hpp has the formulas; the definition in operations
// that every backend has is mixers/performer.hpp.
//
//   with d_i = φ(q_i)·z + ε and e_i = −(dy_i·y_i)/d_i:
//   dφ(q_i) = S dy_i/d_i + e_i z,   dS = Σ_i φ(q_i) dy_iᵀ/d_i,   dz = Σ_i e_i φ(q_i)
//   dφ(k_j) = κ_j (dS v_j + dz),   dv_j = dSᵀφ(k_j)
// and from features to tokens as in ops/favor.hpp. Saves q, k, v, rows, S, z, norms of
// keys and maxima of heads; features are computed again.
#pragma once

#include "flr/core/mixer_choice.hpp"
#include "flr/ops/heads.hpp"

namespace flr {

struct FusedPerformer {
  double factor = 1, scale = 1, offset = 0, epsilon = 1e-6;
  Tensor<std::uint8_t> keep = {};  ///< [B or 1,Nk]: keys with 0 take no part; undefined: all do
};

/// q [B,H,Nq,D], k, v [B,H,Nk,D], rows [H,R,D] → [B,H,Nq,D]; undefined where the backend has no
/// kernel for it, for the caller to take the composition; rows that want a gradient have none.
template <Floating T>
Tensor<T> fused_performer(const Tensor<T>& q_in, const Tensor<T>& k_in, const Tensor<T>& v_in,
                          const Tensor<compute_t<T>>& rows_in, const FusedPerformer& o = {}) {
  using C = compute_t<T>;
  check(q_in.rank() == 4 && k_in.rank() == 4 && k_in.shape() == v_in.shape() &&
            q_in.size(0) == k_in.size(0) && q_in.size(1) == k_in.size(1) &&
            q_in.size(3) == k_in.size(3) && rows_in.rank() == 3 &&
            rows_in.size(0) == q_in.size(1) && rows_in.size(2) == q_in.size(3),
        "[performer] expected q [B,H,Nq,D], k and v [B,H,Nk,D] and rows [H,R,D]; got {}, {}, {} and {}",
        q_in.shape(), k_in.shape(), v_in.shape(), rows_in.shape());
  if (recording(rows_in)) return {};
  const auto& table = backend<T>(q_in.device());
  const Tensor<T> q = detail::readable_heads(q_in), k = detail::readable_heads(k_in),
                  v = detail::readable_heads(v_in);
  PerformerParams<T> p;
  p.B = q.size(0), p.H = q.size(1), p.Nq = q.size(2), p.Nk = k.size(2), p.D = q.size(3);
  p.R = rows_in.size(1);
  p.factor = static_cast<C>(o.factor), p.scale = static_cast<C>(o.scale);
  p.offset = static_cast<C>(o.offset), p.epsilon = static_cast<C>(o.epsilon);
  p.q = q.data(), p.k = k.data(), p.v = v.data();
  p.qs = detail::head_strides(q), p.ks = detail::head_strides(k), p.vs = detail::head_strides(v);
  if (!takes_mixer_kernel<T>("performer", table.performer, table.supports_performer, p, [&] {
        return fmt::format("B={} H={} Nq={} Nk={} D={} R={}", p.B, p.H, p.Nq, p.Nk, p.D, p.R);
      }))
    return {};
  detail::bind_keep("performer", p, o.keep, p.Nk);
  const Tensor<C> rows = contiguous(rows_in);
  // Laid out as tokens, which is how the layer behind wants them.
  Tensor<T> y = permute(Tensor<T>::empty({p.B, p.Nq, p.H, p.D}, q.device()), {0, 2, 1, 3});
  auto state = Tensor<C>::empty({p.B, p.H, p.R, p.D + 1}, q.device());
  auto norms = Tensor<C>::empty({p.B, p.H, p.Nk}, q.device());
  auto maximum = Tensor<C>::empty({p.B, p.H}, q.device());
  auto attained = Tensor<index_t>::empty({p.B, p.H}, q.device());
  p.rows = rows.data(), p.y = y.mutable_data(), p.ys = detail::head_strides(y);
  p.state = state.mutable_data(), p.norms = norms.mutable_data();
  p.maximum = maximum.mutable_data(), p.attained = attained.mutable_data();
  table.performer(p);
  if (recording(q, k, v))
    record("performer", y, Inputs(q, k, v),
           [f = p, q = save(q), k = save(k), v = save(v), rows = save(rows), state = save(state),
            norms = save(norms), maximum = save(maximum), attained = save(attained), keep = o.keep](Backward& b) {
             for (const Saved<T>* t : {&q, &k, &v}) t->get("performer");
             rows.get("performer");
             const Tensor<T> dy = detail::readable_gradient<T>(b, 2 * sizeof(T));
             PerformerBackwardParams<T> p;
             p.f = f, p.dy = dy.data(), p.dys = detail::head_strides(dy);
             const detail::HeadTargets<T> targets(b, "performer", q, k, v, p);
             backend<T>(dy.device()).performer_backward(p);
           });
  return y;
}

}  // namespace flr
