// Linear attention: softmax's kernel replaced by a product of features, so that keys and values are
// summed once for all queries (Katharopoulos, Vyas, Pappas & Fleuret 2020, arXiv 2006.16236, eq. 5).
//
//   y_i = φ(q_i)ᵀ S / (φ(q_i)·z + ε),   S = Σ_j φ(k_j) v_jᵀ,   z = Σ_j φ(k_j)
#pragma once

#include "flr/mixers/causal_linear.hpp"
#include "flr/mixers/feature_map.hpp"
#include "flr/mixers/own_type.hpp"

namespace flr::mixers {

/// Features of queries and keys [B,H,N,E], v [B,H,N,D] → [B,H,N,D]. `keep` [B or 1,N] hides padding.
/// Where the backend has one operation for it (ops/linear_attention.hpp), it takes that; else bf16 is
/// computed in float: S and z are sums over all tokens.
template <Floating T>
Tensor<T> linear_attention(const Tensor<T>& q, const Tensor<T>& k_in, const Tensor<T>& v,
                           const Tensor<std::uint8_t>& keep = {}, double epsilon = 1e-6) {
  check(q.rank() == 4 && k_in.rank() == 4 && v.rank() == 4 && q.size(3) == k_in.size(3) &&
            k_in.size(2) == v.size(2),
        "[linear_attention] expected features of q and k [B,H,N,E] and v [B,H,N,D]; got {}, {} and {}",
        q.shape(), k_in.shape(), v.shape());
  if (k_in.shape() == v.shape() && q.size(0) == v.size(0) && q.size(1) == v.size(1)) {
    const Tensor<T> y = fused_linear_attention(q, k_in, v, {.epsilon = epsilon, .keep = keep});
    if (y.defined()) return y;
  }
  using C = compute_t<T>;
  if constexpr (!std::same_as<T, C>) {
    return linear_attention(q.template to<C>(), k_in.template to<C>(), v.template to<C>(), keep,
                            epsilon)
        .template to<T>();
  } else {
    const Tensor<T> k = nn::hide_padding("linear_attention", k_in, keep);
    const Tensor<T> y = matmul(q, matmul(transpose(k, -1, -2), v));
    const Tensor<T> weight = matmul(q, transpose(sum(k, {2}, true), -1, -2));
    return map(_1 / (_2 + epsilon), y, weight);
  }
}

struct LinearAttentionOptions {
  index_t channels = 64, heads = 8;
  FeatureMap kernel = FeatureMap::elu;
  bool norm_q = false, norm_k = false;  ///< features as unit vectors
  bool causal = false;
  double drop = 0;  ///< behind out_proj
  bool legacy = false;  ///< q, k, v lie by head in qkv_proj, as in the reference's weights
};

/// qkv_proj: C → 3C; features of q and k; linear attention, in float for activations in bf16 (but
/// where a backend has it as one operation: that sums in float); out_proj: C → C.
template <Floating T>
class LinearAttention : public nn::Module<T> {
 public:
  /// `rotary`, where given, turns q and k by their positions in front of the feature map; it must
  /// outlive this module.
  explicit LinearAttention(const LinearAttentionOptions& o, const nn::Rotary<T>* rotary = nullptr)
      : o_(o),
        rotary_(rotary),
        qkv_proj_(o.channels, 3 * o.channels),
        out_proj_(o.channels, o.channels),
        kernel_(o.kernel, nn::head_dim("linear attention", o.channels, o.heads)) {
    this->add_child("qkv_proj", qkv_proj_);
    this->add_child("out_proj", out_proj_);
    this->add_child("kernel", kernel_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    const auto layout = o_.legacy ? nn::QkvLayout::by_head : nn::QkvLayout::by_projection;
    const Tensor<A> qkv = qkv_proj_(x);
    if (const Tensor<A> y = in_one(qkv, layout, keep); y.defined()) return project(y);
    const auto& table = backend<A>(x.device());
    const bool kernels = fused_mixers_allowed() && fused_feature(o_.kernel) &&
                         (o_.causal ? table.causal_linear != nullptr : table.linear_attention != nullptr);
    const auto attend = [&]<Floating S>(const std::vector<Tensor<S>>& joint) {
      auto [q, k, v] = nn::split_qkv(joint[0], o_.heads, layout);
      if (rotary_) q = (*rotary_)(q), k = (*rotary_)(k);
      const Tensor<S> fq = features(q, o_.norm_q), fk = features(k, o_.norm_k);
      return o_.causal
                 ? causal_linear_attention(fq, nn::hide_padding("linear_attention", fk, keep), v,
                                           {.normalize = true})
                 : linear_attention(fq, fk, v, keep);
    };
    return project(in_own_type(std::vector{qkv}, kernels, attend));
  }

 private:
  /// Attention and its features as one operation; undefined where there is none.
  template <Floating A>
  Tensor<A> in_one(const Tensor<A>& qkv, nn::QkvLayout layout,
                   const Tensor<std::uint8_t>& keep) const {
    const std::optional<Feature> feature = fused_feature(o_.kernel);
    if (rotary_ || !feature) return {};
    const auto [q, k, v] = nn::split_qkv(qkv, o_.heads, layout);
    if (!o_.causal)
      return fused_linear_attention(
          q, k, v, {.feature = *feature, .unit_q = o_.norm_q, .unit_k = o_.norm_k, .keep = keep});
    if (o_.norm_q || o_.norm_k) return {};
    return causal_linear<A>(q, k, v, {.normalize = true, .feature = *feature, .keep = keep});
  }
  template <Floating A>
  Tensor<A> project(const Tensor<A>& heads) const {
    return dropout(out_proj_(nn::merge_heads(heads)), o_.drop, this->training());
  }
  template <Floating C>
  Tensor<C> features(const Tensor<C>& x, bool normalize) const {
    const Tensor<C> f = kernel_(x);
    return normalize ? unit_vectors(f) : f;
  }

  LinearAttentionOptions o_;
  const nn::Rotary<T>* rotary_;
  nn::Linear<T> qkv_proj_, out_proj_;
  FeatureMapLayer<T> kernel_;
};

}  // namespace flr::mixers
