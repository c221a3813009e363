// Physics attention (Transolver, arXiv 2402.02366, for irregular points) from operations of the
// library, to be measured beside FLARE. The peer is bench/peer/attention_layers.py.
#pragma once

#include "flr/flr.hpp"

namespace bench {

/// Tokens are softly cut into `slices` shared by all points, which attend to each other:
///
///   w_ng = softmax_g(S u_n / τ_h), t_g = Σ_n w_ng f_n / (Σ_n w_ng + 1e-5), y_n = Σ_g w_ng t'_g,
///
/// where u and f are linear in x, t' = attention(t) with maps D → D that heads share, τ starts at
/// ½.
template <flr::Floating T>
class PhysicsAttention : public flr::nn::Module<T> {
 public:
  PhysicsAttention(flr::index_t channels, flr::index_t heads, flr::index_t slices)
      : heads_(heads),
        temperature_(this->add_parameter("temperature", {1, heads, 1, 1}, flr::nn::Role::weight)),
        f_(channels, channels),
        u_(channels, channels),
        slice_(channels / heads, slices),
        q_(channels / heads, channels / heads, false),
        k_(channels / heads, channels / heads, false),
        v_(channels / heads, channels / heads, false),
        out_(channels, channels) {
    temperature_.fill_(T(0.5));
    this->add_child("in_project_fx", f_), this->add_child("in_project_x", u_);
    this->add_child("in_project_slice", slice_);
    this->add_child("to_q", q_), this->add_child("to_k", k_), this->add_child("to_v", v_);
    this->add_child("to_out", out_);
  }

  /// x [B,N,C] → [B,N,C].
  template <flr::Floating A>
  flr::Tensor<A> operator()(const flr::Tensor<A>& x) const {
    using namespace flr;
    const Tensor<A> f = nn::split_heads(f_(x), heads_), u = nn::split_heads(u_(x), heads_);
    const Tensor<A> w =
        softmax(map(_1 / _2, slice_(u), this->template parameter_as<A>(temperature_)), -1);
    const Tensor<A> wt = transpose(w, -1, -2);  // [B,H,G,N]
    const Tensor<A> t = map(_1 / (_2 + 1e-5), matmul(wt, f), sum(wt, {-1}, true));
    return out_(nn::merge_heads(matmul(w, sdpa(q_(t), k_(t), v_(t)))));
  }

 private:
  flr::index_t heads_;
  flr::Tensor<T> temperature_;
  flr::nn::Linear<T> f_, u_, slice_, q_, k_, v_, out_;
};

}  // namespace bench
