// Linformer: keys and values of N tokens projected along N to a fixed number (Wang, Li, Khabsa, Fang &
// Ma 2020, arXiv 2006.04768, eq. 7; projections shared by the heads of a layer).
//
//   y = softmax(D^−½ q k̂ᵀ) v̂,   k̂ = E_kᵀ k,  v̂ = E_vᵀ v   [B,H,K,D]
// E_k, E_v [N_max, K] belong to positions: shorter inputs use the first N rows. The sums over N are
// not divided by N, so a model is not invariant to the length it was trained with.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// q, k, v [B,H,N,D], e_k and e_v [N_max,K] with N ≤ N_max → [B,H,N,D]. Padding hidden by `keep`
/// [B or 1,N] adds nothing to the projected keys; at the end of a sample it changes nothing.
template <Floating T>
Tensor<T> linformer(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Tensor<T>& e_k,
                    const Tensor<T>& e_v, const Tensor<std::uint8_t>& keep = {}) {
  check(k.rank() == 4 && v.rank() == 4 && e_k.rank() == 2 && e_v.rank() == 2,
        "[linformer] expected k and v [B,H,N,D] and projections [N_max,K]; got {}, {}, {} and {}",
        k.shape(), v.shape(), e_k.shape(), e_v.shape());
  const index_t n = k.size(2);
  check(n <= e_k.size(0) && n <= e_v.size(0),
        "[linformer] got {} tokens, the projections were made for at most {}", n,
        std::min(e_k.size(0), e_v.size(0)));
  const auto project = [&](const Tensor<T>& e, const Tensor<T>& x) {
    const Tensor<T> rows = transpose(slice(e, 0, 0, n), 0, 1);
    return matmul(rows, nn::hide_padding("linformer", x, keep));
  };
  return sdpa(q, project(e_k, k), project(e_v, v));
}

struct LinformerOptions {
  index_t channels = 64, heads = 8;
  index_t max_length = 0;       ///< N_max
  index_t projected = 256;      ///< K
  bool share_kv = false;        ///< E_v = E_k (the paper's key-value sharing)
  double drop = 0;              ///< behind out_proj
  /// The reference's layer: q, k, v by head in qkv_proj, and E ~ N(0, 1/D) where the paper's theorem
  /// has N(0, 1/K).
  bool legacy = false;
};

template <Floating T>
class Linformer : public nn::Module<T> {
 public:
  explicit Linformer(const LinformerOptions& o)
      : o_(o), qkv_proj_(o.channels, 3 * o.channels), out_proj_(o.channels, o.channels) {
    const index_t d = nn::head_dim("linformer", o.channels, o.heads);
    check(o.max_length > 0 && o.projected > 0,
          "[linformer] expected a longest length and a number of projected tokens, got {} and {}",
          o.max_length, o.projected);
    this->add_child("qkv_proj", qkv_proj_);
    this->add_child("out_proj", out_proj_);
    const double std = 1 / std::sqrt(static_cast<double>(o.legacy ? d : o.projected));
    const Shape shape{o.max_length, o.projected};
    e_k = this->add_parameter("E_k", shape, nn::Role::other);
    nn::normal(e_k, std);
    if (o.share_kv) return;
    e_v = this->add_parameter("E_v", shape, nn::Role::other);
    nn::normal(e_v, std);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    const auto layout = o_.legacy ? nn::QkvLayout::by_head : nn::QkvLayout::by_projection;
    const auto [q, k, v] = nn::split_qkv(qkv_proj_(x), o_.heads, layout);
    const Tensor<A> keys = this->template parameter_as<A>(e_k);
    const Tensor<A> values = o_.share_kv ? keys : this->template parameter_as<A>(e_v);
    const Tensor<A> y = linformer(q, k, v, keys, values, keep);
    return dropout(out_proj_(nn::merge_heads(y)), o_.drop, this->training());
  }

 private:
  LinformerOptions o_;
  nn::Linear<T> qkv_proj_, out_proj_;

 public:
  Tensor<T> e_k, e_v;
};

}  // namespace flr::mixers
