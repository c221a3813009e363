// FLARE's two hops (arXiv 2508.12594): gather from N tokens into M latents, scatter back.
//
//   encode: z = softmax(scale · q kᵀ) v      [B,H,M,D], softmax over the N tokens
//   decode: y = softmax(scale · k qᵀ) z      [B,H,N,D], softmax over the M latents
// Two nodes that meet at z, so that what happens to the latents in between is up to the caller.
#pragma once

#include "flr/core/explain.hpp"
#include "flr/ops/sdpa.hpp"

namespace flr {

/// q [H,M,D] or [B,H,M,D] latents, k and v [B,H,N,D] → z [B,H,M,D].
template <Floating T>
Tensor<T> flare_encode(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                       double scale = 1) {
  check(q.rank() == 3 || q.rank() == 4,
        "[flare_encode] expected latents [H,M,D] or [B,H,M,D], got {}", q.shape());
  return sdpa(q.rank() == 3 ? unsqueeze(q, 0) : q, k, v, {.scale = scale});
}

/// q as above, k [B,H,N,D], z [B,H,M,D] → y [B,H,N,D].
template <Floating T>
Tensor<T> flare_decode(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& z,
                       double scale = 1) {
  check(q.rank() == 3 || q.rank() == 4,
        "[flare_decode] expected latents [H,M,D] or [B,H,M,D], got {}", q.shape());
  return sdpa(k, q.rank() == 3 ? unsqueeze(q, 0) : q, z, {.scale = scale});
}

namespace detail {

/// Whether rows of heads are contiguous and begin at multiples of their length and of 16 bytes, as
/// wide loads need it: a slice of a wider tensor's gradient may not.
template <Floating T>
bool rows_aligned(const Tensor<T>& x) {
  const Shape& s = x.strides();
  const index_t D = x.size(3);
  return s[3] == 1 && s[0] % D == 0 && s[1] % D == 0 && s[2] % D == 0 &&
         reinterpret_cast<std::uintptr_t>(x.data()) % 16 == 0;
}

}  // namespace detail

/// Both hops: y = decode(q, k, encode(q, k, v)). Where the backend has one backward pass for both, it
/// is one node, which takes the scores' gradient once.
template <Floating T>
Tensor<T> flare_mixer(const Tensor<T>& q_in, const Tensor<T>& k_in, const Tensor<T>& v_in,
                      double scale = 1) {
  using C = compute_t<T>;
  check(q_in.rank() == 3 || q_in.rank() == 4,
        "[flare_mixer] expected latents [H,M,D] or [B,H,M,D], got {}", q_in.shape());
  const Tensor<T> q = detail::readable_heads(q_in.rank() == 3 ? unsqueeze(q_in, 0) : q_in);
  FlareParams<T> p;
  const auto& table = backend<T>(q.device());
  const bool heads = k_in.rank() == 4 && k_in.shape() == v_in.shape() &&
                     q.size(1) == k_in.size(1) && q.size(3) == k_in.size(3) &&
                     (q.size(0) == 1 || q.size(0) == k_in.size(0));
  const auto composition = [&] {
    return flare_decode(q, k_in, flare_encode(q, k_in, v_in, scale), scale);
  };
  if (!heads || !table.supports_flare || !recording(q, k_in, v_in)) return composition();
  const Tensor<T> k = detail::readable_heads(k_in), v = detail::readable_heads(v_in);
  p.B = k.size(0), p.H = k.size(1), p.M = q.size(2), p.N = k.size(2), p.D = k.size(3);
  p.scale = static_cast<C>(scale);
  p.q = q.data(), p.k = k.data(), p.v = v.data();
  p.qs = detail::head_strides(q), p.ks = detail::head_strides(k), p.vs = detail::head_strides(v);
  std::string why;
  const bool fused = table.supports_flare(p, &why);
  explain([&] {
    return fmt::format("[flare_mixer] B={} H={} M={} N={} D={} {}: {}", p.B, p.H, p.M, p.N, p.D,
                       name_of(dtype_of<T>),
                       fused ? "one backward pass for both hops" : "two backward passes; " + why);
  });
  if (!fused) return composition();

  Tensor<C> lse_z, lse_y;
  Tensor<T> z, y;
  {
    NoGrad scope;
    z = sdpa(q, k, v, {.scale = scale}, &lse_z);
    y = sdpa(k, q, z, {.scale = scale}, &lse_y);
  }
  p.z = z.data(), p.y = y.data(), p.lse_z = lse_z.data(), p.lse_y = lse_y.data();
  p.zs = detail::head_strides(z), p.ys = detail::head_strides(y);
  record("flare_mixer", y, Inputs(q, k, v),
         [f = p, q = save(q), k = save(k), v = save(v), z = save(z), y = save(y),
          lse_z = save(lse_z), lse_y = save(lse_y)](Backward& b) {
           for (const Saved<T>* t : {&q, &k, &v, &z, &y}) t->get("flare_mixer");
           Tensor<T> dy = b.grad_strided<T>();
           if (!detail::rows_aligned(dy)) dy = dy.clone();
           FlareBackwardParams<T> p;
           p.f = f;
           p.dy = dy.data(), p.dys = {dy.strides()[0], dy.strides()[1], dy.strides()[2]};
           const detail::HeadTargets<T> targets(b, "flare_mixer", q, k, v, p);
           backend<T>(dy.device()).flare_backward(p);
         });
  return y;
}

}  // namespace flr
