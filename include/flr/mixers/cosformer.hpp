// cosFormer: linear attention with ReLU features and weights that fall off with distance (Qin et al.
// 2022, arXiv 2202.08791, eq. 9–12).
//
//   weight of key j for query i:  relu(q_i)·relu(k_j) cos(π/2 · (i − j)/L),   L = the length
// By cos(a − b) = cos a cos b + sin a sin b this is the product of the features
// [relu(x) cos θ | relu(x) sin θ], θ_i = π i/(2L).
#pragma once

#include <numbers>

#include "flr/mixers/linear.hpp"

namespace flr::mixers {

/// Heads [B,H,N,D] → features [B,H,N,2D]. `keep` [B or 1,N]: positions and lengths count real tokens.
template <Floating T>
Tensor<T> cosformer_features(const Tensor<T>& x, const Tensor<std::uint8_t>& keep = {}) {
  check(x.rank() == 4, "[cosformer] expected heads [B,H,N,D], got {}", x.shape());
  const Tensor<T> real = keep.defined()
                             ? nn::keep_factors<T>("cosformer", keep, x.size(0), x.size(2))
                             : ones<T>({1, 1, x.size(2), 1}, x.device());
  const Tensor<T> angle = map(_1 / max(_2, 1.0) * (std::numbers::pi / 2), cumsum(real, 2),
                              sum(real, {2}, true));
  return concat<T>({map(relu(_1) * cos(_2), x, angle), map(relu(_1) * sin(_2), x, angle)}, 3);
}

/// q, k, v [B,H,N,D] → [B,H,N,D].
template <Floating T>
Tensor<T> cosformer(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                    const Tensor<std::uint8_t>& keep = {}) {
  check(q.rank() == 4 && k.rank() == 4 && q.size(2) == k.size(2),
        "[cosformer] expected q and k at the same positions, [B,H,N,D]; got {} and {}", q.shape(),
        k.shape());
  return linear_attention(cosformer_features(q, keep), cosformer_features(k, keep), v, keep);
}

struct CosformerOptions {
  index_t channels = 64, heads = 8;
  double drop = 0;  ///< behind out_proj
};

template <Floating T>
class Cosformer : public nn::Module<T> {
 public:
  explicit Cosformer(const CosformerOptions& o)
      : o_(o), qkv_proj_(o.channels, 3 * o.channels), out_proj_(o.channels, o.channels) {
    nn::head_dim("cosformer", o.channels, o.heads);
    this->add_child("qkv_proj", qkv_proj_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    using C = compute_t<A>;
    const auto [q, k, v] = nn::split_qkv(qkv_proj_(x).template to<C>(), o_.heads);
    const Tensor<C> y = cosformer(q, k, v, keep);
    return dropout(out_proj_(nn::merge_heads(y).template to<A>()), o_.drop, this->training());
  }

 private:
  CosformerOptions o_;
  nn::Linear<T> qkv_proj_, out_proj_;
};

}  // namespace flr::mixers
