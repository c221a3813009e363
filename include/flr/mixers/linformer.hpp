// Linformer: keys and values of N tokens projected along N to a fixed number (Wang, Li, Khabsa, Fang &
// Ma 2020, arXiv 2006.04768, eq. 7; projections shared by the heads of a layer).
//
//   y = softmax(D^−½ q k̂ᵀ) v̂,   k̂ = E_kᵀ k,  v̂ = E_vᵀ v   [B,H,K,D]
// E_k, E_v [N_max, K] belong to positions: shorter inputs use the first N rows. The sums over N are
// not divided by N, so a model is not invariant to the length it was trained with.
#pragma once

#include "flr/mixers/dropped_attention.hpp"

namespace flr::mixers {

/// Keys or values x [B,H,N,D], e [N_max,K] with N ≤ N_max → [B,H,K,D]. Padding hidden by `keep`
/// [B or 1,N] adds nothing; at the end of a sample it changes nothing.
template <Floating T>
Tensor<T> linformer_project(const Tensor<T>& x, const Tensor<T>& e,
                            const Tensor<std::uint8_t>& keep = {}) {
  check(x.rank() == 4 && e.rank() == 2,
        "[linformer] expected keys and values [B,H,N,D] and projections [N_max,K]; got {} and {}",
        x.shape(), e.shape());
  check(x.size(2) <= e.size(0), "[linformer] got {} tokens, the projections were made for at most {}",
        x.size(2), e.size(0));
  const Tensor<T> rows = transpose(slice(e, 0, 0, x.size(2)), 0, 1);
  return matmul(rows, nn::hide_padding("linformer", x, keep));
}

/// q, k, v [B,H,N,D], e_k and e_v [N_max,K] → [B,H,N,D].
template <Floating T>
Tensor<T> linformer(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Tensor<T>& e_k,
                    const Tensor<T>& e_v, const Tensor<std::uint8_t>& keep = {}) {
  return sdpa(q, linformer_project(k, e_k, keep), linformer_project(v, e_v, keep));
}

struct LinformerOptions {
  index_t channels = 64, heads = 8;
  index_t max_length = 0;       ///< N_max
  index_t projected = 256;      ///< K
  bool share_kv = false;        ///< E_v = E_k (the paper's key-value sharing)
  double drop = 0;              ///< behind out_proj
  double attn_drop = 0;         ///< of the attention weights
  /// The reference's layer: q, k, v by head in qkv_proj, and E ~ N(0, 1/D) where the paper's theorem
  /// has N(0, 1/K).
  bool legacy = false;
};

template <Floating T>
class Linformer : public nn::Module<T> {
 public:
  /// `rotary`, where given, turns q and k by their positions in front of the projection; it must
  /// outlive this module.
  explicit Linformer(const LinformerOptions& o, const nn::Rotary<T>* rotary = nullptr)
      : o_(o),
        rotary_(rotary),
        qkv_proj_(o.channels, 3 * o.channels),
        out_proj_(o.channels, o.channels) {
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
    auto [q, k, v] = nn::split_qkv(qkv_proj_(x), o_.heads, layout);
    if (rotary_) q = (*rotary_)(q), k = (*rotary_)(k);
    const Tensor<A> keys = this->template parameter_as<A>(e_k);
    const Tensor<A> values = o_.share_kv ? keys : this->template parameter_as<A>(e_v);
    const Tensor<A> y = dropped_attention(q, linformer_project(k, keys, keep),
                                          linformer_project(v, values, keep), {}, o_.attn_drop,
                                          this->training());
    return dropout(out_proj_(nn::merge_heads(y)), o_.drop, this->training());
  }

 private:
  LinformerOptions o_;
  const nn::Rotary<T>* rotary_;
  nn::Linear<T> qkv_proj_, out_proj_;

 public:
  Tensor<T> e_k, e_v;
};

}  // namespace flr::mixers
