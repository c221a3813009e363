// FAVOR+ features as one operation, where a backend has a kernel for it (Choromanski et al. 2021,
// arXiv 2009.14794).
//
//   e_r = ω_r·x̃ − ‖x̃‖²/2,  x̃ = factor · x,   φ_r = scale · exp(e_r − m) + offset
//   de_r = dφ_r scale exp(e_r − m) − [e_r = m] s/h,   dx = factor (Σ_r de_r ω_r − (Σ_r de_r) x̃)
//   with s the sum of the first terms over what m is the maximum of, and h how often it is attained
// m is each token's own maximum over r, or that of all kept tokens of a head. The definition in
// operations that every backend has is in mixers/favor.hpp. Saves x, rows and the heads' maxima;
// exponents are computed again.
#pragma once

#include "flr/core/mixer_choice.hpp"
#include "flr/ops/heads.hpp"

namespace flr {

struct FusedFavor {
  double factor = 1, scale = 1, offset = 0;
  bool shared_maximum = false;     ///< one for all kept tokens of a head
  Tensor<std::uint8_t> keep = {};  ///< [B or 1,N]: tokens with 0 are hidden; undefined: none are
};

/// x [B,H,N,D], rows [H,R,D] → [B,H,N,R], float where x is bf16: what follows sums over all tokens.
/// Undefined where the backend has no kernel for it, for the caller to take the composition; rows
/// that want a gradient have none.
template <Floating T>
Tensor<compute_t<T>> fused_favor(const Tensor<T>& x_in, const Tensor<compute_t<T>>& rows_in,
                                 const FusedFavor& o = {}) {
  using C = compute_t<T>;
  check(x_in.rank() == 4 && rows_in.rank() == 3 && x_in.size(3) == rows_in.size(2) &&
            x_in.size(1) == rows_in.size(0),
        "[favor] expected x [B,H,N,D] and rows [H,R,D]; got {} and {}", x_in.shape(),
        rows_in.shape());
  if (recording(rows_in)) return {};
  FavorParams<T> p;
  p.B = x_in.size(0), p.H = x_in.size(1), p.N = x_in.size(2), p.D = x_in.size(3);
  p.R = rows_in.size(1);
  p.factor = static_cast<C>(o.factor), p.scale = static_cast<C>(o.scale);
  p.offset = static_cast<C>(o.offset), p.shared_maximum = o.shared_maximum;
  const auto& table = backend<T>(x_in.device());
  if (!takes_mixer_kernel<T>("favor", table.favor, table.supports_favor, p, [&] {
        return fmt::format("B={} H={} N={} D={} R={}", p.B, p.H, p.N, p.D, p.R);
      }))
    return {};
  detail::bind_keep("favor", p, o.keep, p.N);
  const Tensor<T> x = detail::readable_heads(x_in);
  const Tensor<C> rows = contiguous(rows_in);
  p.x = x.data(), p.xs = detail::head_strides(x), p.rows = rows.data();
  auto y = Tensor<C>::empty({p.B, p.H, p.N, p.R}, x.device());
  auto maximum = Tensor<C>::empty(o.shared_maximum ? Shape{p.B, p.H} : Shape{0}, x.device());
  p.y = y.mutable_data();
  p.maximum = o.shared_maximum ? maximum.mutable_data() : nullptr;
  table.favor(p);
  if (recording(x))
    record("favor", y, Inputs(x),
           [f = p, x = save(x), rows = save(rows), maximum = save(maximum),
            keep = o.keep](Backward& b) {
             rows.get("favor");
             const Tensor<C> dy = b.grad<C>();
             FavorBackwardParams<T> p;
             p.f = f, p.f.y = nullptr, p.dy = dy.data();
             auto dx = b.target_as<T>(0, x.get("favor"));
             p.dx = dx.data(), p.dx_mode = dx.mode();
             if (dx.wanted()) p.dxs = detail::head_strides(dx.tensor());
             backend<T>(dy.device()).favor_backward(p);
           });
  return y;
}

}  // namespace flr
