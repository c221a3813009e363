// LinearNO's mixer (FLARE.py, lra/models, not registered there): linear attention whose features are
// softmaxes of different axes, so that neither needs a denominator.
//
//   y = softmax_D(q) (softmax_N(k)ᵀ v);   module: out_proj(LN(merge y))
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// q, k [B,H,N,E], v [B,H,N,D] → [B,H,N,D]. `keep` [B or 1,N] hides padding.
template <Floating T>
Tensor<T> linear_no(const Tensor<T>& q, const Tensor<T>& k_in, const Tensor<T>& v,
                    const Tensor<std::uint8_t>& keep = {}) {
  check(q.rank() == 4 && k_in.rank() == 4 && v.rank() == 4 && q.size(3) == k_in.size(3) &&
            k_in.size(2) == v.size(2),
        "[linear_no] expected q and k [B,H,N,E] and v [B,H,N,D]; got {}, {} and {}", q.shape(),
        k_in.shape(), v.shape());
  Tensor<T> k = k_in;
  if (keep.defined())
    k = map(where(_2, _1, -1e30), k, nn::keep_factors<T>("linear_no", keep, k.size(0), k.size(2)));
  return matmul(softmax(q, 3), matmul(transpose(softmax(k, 2), -1, -2), v));
}

struct LinearNoOptions {
  index_t channels = 64, heads = 8;
  nn::NormKind norm = nn::NormKind::layer;
  double drop = 0;  ///< behind out_proj
};

template <Floating T>
class LinearNo : public nn::Module<T> {
 public:
  explicit LinearNo(const LinearNoOptions& o)
      : o_(o), qkv_proj_(o.channels, 3 * o.channels), norm_(o.channels, o.norm),
        out_proj_(o.channels, o.channels) {
    nn::head_dim("linear_no", o.channels, o.heads);
    this->add_child("qkv_proj", qkv_proj_);
    this->add_child("norm", norm_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding. The features are computed in float for
  /// activations in bf16.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    using C = compute_t<A>;
    const auto [q, k, v] = nn::split_qkv(qkv_proj_(x).template to<C>(), o_.heads);
    const Tensor<C> y = norm_(nn::merge_heads(linear_no(q, k, v, keep)));
    return dropout(out_proj_(y.template to<A>()), o_.drop, this->training());
  }

 private:
  LinearNoOptions o_;
  nn::Linear<T> qkv_proj_;
  nn::Norm<T> norm_;
  nn::Linear<T> out_proj_;
};

}  // namespace flr::mixers
