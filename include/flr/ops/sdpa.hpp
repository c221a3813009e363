// Scaled dot-product attention (Vaswani et al. 2017), fused: no Nq×Nk matrix in memory.
//
//   S = scale · q kᵀ + bias, P = softmax(S) over visible keys, y = P v, L = lse(S);
//   dv = Pᵀ dy, dS = P ∘ (dy vᵀ − rowsum(dy ∘ y)), dq = scale · dS k, dk = scale · dSᵀ q, dbias = dS.
// Saves q, k, v, y, L. A query that sees no key gives zeros.
#pragma once

#include <cmath>
#include <optional>

#include "flr/core/explain.hpp"
#include "flr/ops/convert.hpp"
#include "flr/ops/elementwise.hpp"
#include "flr/ops/heads.hpp"
#include "flr/ops/matmul.hpp"
#include "flr/ops/softmax.hpp"

namespace flr {

template <Floating T>
struct SdpaOptions {
  std::optional<double> scale = {};  ///< D^−½ if not given
  bool causal = false;          ///< key j is visible to query i when j ≤ i + (Nk − Nq)
  Tensor<std::uint8_t> keep = {};    ///< [B or 1, Nk]; 0 hides a key
  Tensor<T> bias = {};               ///< added to S; broadcasts to [B, H, Nq, Nk]
};

namespace detail {

inline index_t broadcast_extent(const char* what, index_t a, index_t b) {
  check(a == b || a == 1 || b == 1, "[sdpa] {} of {} and {} do not broadcast", what, a, b);
  return a == 1 ? b : a;
}

}  // namespace detail

/// q [B,H,Nq,D], k [B,H,Nk,D], v [B,H,Nk,Dv] → [B,H,Nq,Dv]; each may have 1 for B or H.
/// Also returns the log-sum-exp [B,H,Nq] through `lse_out` if it is not null.
template <Floating T>
Tensor<T> sdpa(const Tensor<T>& q_in, const Tensor<T>& k_in, const Tensor<T>& v_in,
               const SdpaOptions<std::type_identity_t<T>>& options = {},
               Tensor<compute_t<T>>* lse_out = nullptr) {
  using C = compute_t<T>;
  check(q_in.rank() == 4 && k_in.rank() == 4 && v_in.rank() == 4,
        "[sdpa] expected q, k and v as [B,H,N,D]; got q {}, k {}, v {}", q_in.shape(), k_in.shape(),
        v_in.shape());
  check(q_in.size(3) == k_in.size(3),
        "[sdpa] q and k must agree in the last dimension; got q {}, k {}", q_in.shape(),
        k_in.shape());
  check(k_in.size(2) == v_in.size(2),
        "[sdpa] k and v must have the same number of tokens; got k {}, v {}", k_in.shape(),
        v_in.shape());
  const Tensor<T> q = detail::readable_heads(q_in), k = detail::readable_heads(k_in),
                  v = detail::readable_heads(v_in);
  SdpaParams<T> p;
  const auto extent = [&](int axis, const char* what) {
    return detail::broadcast_extent(
        what, detail::broadcast_extent(what, q.size(axis), k.size(axis)), v.size(axis));
  };
  p.B = extent(0, "batches"), p.H = extent(1, "heads");
  p.Nq = q.size(2), p.Nk = k.size(2), p.D = q.size(3), p.Dv = v.size(3);
  p.scale = static_cast<C>(options.scale ? *options.scale
                                         : 1 / std::sqrt(static_cast<double>(p.D)));
  p.causal = options.causal;
  p.q = q.data(), p.k = k.data(), p.v = v.data();
  p.qs = detail::head_strides(q), p.ks = detail::head_strides(k), p.vs = detail::head_strides(v);

  const Tensor<std::uint8_t>& keep = options.keep;
  detail::bind_keep("sdpa", p, keep, p.Nk);
  Tensor<T> bias;
  if (options.bias.defined()) {
    const Shape full{p.B, p.H, p.Nq, p.Nk};
    check(options.bias.rank() <= 4 &&
              broadcast_shapes(options.bias.shape(), full, "sdpa") == full,
          "[sdpa] a bias of shape {} does not broadcast to {}", options.bias.shape(), full);
    Shape padded = options.bias.shape();
    while (padded.rank() < 4) padded.insert(0, 1);
    bias = contiguous(reshape(options.bias, padded));
    const Shape s = detail::broadcast_strides(bias.shape(), bias.strides(), full);
    p.bias = bias.data(), p.bias_s = {s[0], s[1], s[2]}, p.bias_col = s[3];
  }

  // The result is laid out as [B,N,H,D], as the tokens of a network are: merging heads is a view.
  auto storage = Tensor<T>::empty({p.B, p.Nq, p.H, p.Dv}, q.device());
  Tensor<T> y = permute(storage, {0, 2, 1, 3});
  p.o = y.mutable_data();
  p.os = {p.Nq * p.H * p.Dv, p.Dv, p.H * p.Dv};
  const bool tape = recording(q, k, v, bias);
  Tensor<C> lse;
  if (tape || lse_out) {
    lse = Tensor<C>::empty({p.B, p.H, p.Nq}, q.device());
    p.lse = lse.mutable_data();
  }
  if (q.device().is_cpu())  // the CUDA table has several kernels and says itself which one it took
    explain([&] {
      return fmt::format("[sdpa] B={} H={} Nq={} Nk={} D={} Dv={} {} on cpu: blocks of queries and "
                         "keys, {}; the only kernel",
                         p.B, p.H, p.Nq, p.Nk, p.D, p.Dv, name_of(dtype_of<T>),
                         tape ? "log-sum-exp kept" : "nothing kept");
    });
  backend<T>(q.device()).sdpa(p);
  if (lse_out) *lse_out = lse;

  if (tape)
    record("sdpa", y, Inputs(q, k, v, bias),
           [f = p, q = save(q), k = save(k), v = save(v), bias = save(bias), keep, y = save(y),
            lse = save(lse)](Backward& b) {
             for (const Saved<T>* t : {&q, &k, &v, &bias, &y}) t->get("sdpa");
             const Tensor<T> dy = detail::readable_gradient<T>(b);
             SdpaBackwardParams<T> p;
             p.f = f;
             p.dout = dy.data();
             p.dos = {dy.strides()[0], dy.strides()[1], dy.strides()[2]};
             const detail::HeadTargets<T> targets(b, "sdpa", q, k, v, p);
             auto dbias = b.target<T>(3);
             p.dbias = dbias.data(), p.dbias_mode = dbias.mode();
             backend<T>(dy.device()).sdpa_backward(p);
           });
  return y;
}

/// The definition in simple operations, with the whole Nq×Nk matrix; for tests and readers.
/// Hidden keys get a large negative score, so a query that sees no key is not treated here.
template <Floating T>
Tensor<T> sdpa_composition(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                           const SdpaOptions<std::type_identity_t<T>>& options = {}) {
  const double scale =
      options.scale ? *options.scale : 1 / std::sqrt(static_cast<double>(q.size(-1)));
  Tensor<T> s = matmul(q, transpose(k, -1, -2)) * static_cast<compute_t<T>>(scale);
  if (options.bias.defined()) s = s + options.bias;
  const index_t nq = q.size(2), nk = k.size(2);
  if (options.causal) {
    std::vector<compute_t<T>> hide(static_cast<std::size_t>(nq * nk), 0);
    for (index_t i = 0; i < nq; ++i)
      for (index_t j = i + nk - nq + 1; j < nk; ++j)
        if (j >= 0) hide[static_cast<std::size_t>(i * nk + j)] = -1e30f;
    s = s + from_vector(hide, {nq, nk}).template to<T>();
  }
  if (options.keep.defined()) {
    const auto kept = options.keep.template to<T>();
    s = s + reshape(map((_1 - 1.0) * 1e30, kept), {kept.size(0), 1, 1, nk});
  }
  return matmul(softmax(s, -1), v);
}

}  // namespace flr
