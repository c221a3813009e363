// What the mixers of products of states share: projections of the tokens to several queries, keys
// and values, and the way back. They differ in what happens on the heads.
//
//   q.., k.., v.. = P x, each with a projection of its own; φ and, where asked for, unit vectors on
//   queries and keys; y = out_proj(norm(merge(attend(q.., k.., v..))))
#pragma once

#include "flr/mixers/feature_map.hpp"
#include "flr/mixers/own_type.hpp"

namespace flr::mixers {

struct ProjectedOptions {
  index_t channels = 64, heads = 8;
  int layers = -1;       ///< of the projections (nn::ResidualMLP); −1: one dense layer
  double ratio = 1;      ///< their hidden width over channels
  bool residual = true;  ///< whether projections add their input
  Activation act = Activation::gelu_tanh;
  FeatureMap kernel = FeatureMap::identity;
  bool norm_q = false, norm_k = false;      ///< features as unit vectors
  nn::NormKind norm = nn::NormKind::layer;  ///< of the merged heads
  double drop = 0;                          ///< behind out_proj
};

/// Projections are named as they are registered; the first letter says what they make: q, k or v.
template <Floating T>
class Projected : public nn::Module<T> {
 public:
  const ProjectedOptions& options() const { return o_; }

 protected:
  Projected(const char* operation, const ProjectedOptions& o, std::vector<std::string> names)
      : o_(o),
        operation_(operation),
        names_(std::move(names)),
        kernel_(o.kernel, nn::head_dim(operation, o.channels, o.heads)),
        norm_(o.channels, o.norm),
        out_proj_(o.channels, o.channels) {
    const auto hidden = static_cast<index_t>(o.ratio * static_cast<double>(o.channels));
    for (const std::string& name : names_) {
      projections_.push_back(
          std::make_unique<nn::ResidualMLP<T>>(o.channels, hidden, o.channels, o.layers,
                                               ResidualMlpOptions{o.residual, o.residual, o.act}));
      this->add_child(name, *projections_.back());
    }
    this->add_child("kernel", kernel_);
    this->add_child("norm", norm_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; attend takes the heads [B,H,N,D] in the order of the names and returns
  /// heads. For activations in bf16 these are of float, but where attend takes bf16 too and the
  /// backend has kernels for its outer products.
  template <Floating A, class F>
  Tensor<A> mix(const Tensor<A>& x, const F& attend) const {
    std::vector<Tensor<A>> projected;
    for (const auto& projection : projections_) projected.push_back((*projection)(x));
    const auto between = [&]<Floating S>(const std::vector<Tensor<S>>& tokens) -> Tensor<S>
    requires TakesTokens<F, S> {
      return norm_(nn::merge_heads(attend(features(tokens))));
    };
    const Tensor<A> y = in_own_type(projected, has_kernels(projected), between);
    return dropout(out_proj_(y), o_.drop, this->training());
  }

 private:
  template <Floating S>
  std::vector<Tensor<S>> features(const std::vector<Tensor<S>>& tokens) const {
    std::vector<Tensor<S>> heads;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      const Tensor<S> h = nn::split_heads(tokens[i], o_.heads);
      const char kind = names_[i][0];
      if (kind == 'v') {
        heads.push_back(h);
        continue;
      }
      const Tensor<S> f = kernel_(h);
      heads.push_back((kind == 'q' ? o_.norm_q : o_.norm_k) ? unit_vectors(f) : f);
    }
    return heads;
  }
  /// Whether bf16 may stay as it is: a state is the product of as many keys as there are to a
  /// value, and the value. Learnt features are left in float.
  template <Floating A>
  bool has_kernels(const std::vector<Tensor<A>>& projected) const {
    if (std::same_as<A, compute_t<A>> || !fused_feature(o_.kernel)) return false;
    const auto count = [&](char kind) {
      return std::count_if(names_.begin(), names_.end(),
                           [&](const auto& n) { return n[0] == kind; });
    };
    const auto operands = static_cast<std::size_t>(1 + count('k') / count('v'));
    std::vector<Tensor<A>> heads;
    for (std::size_t i = 0; i < operands; ++i)
      heads.push_back(nn::split_heads(projected[i], o_.heads));
    return has_outer_kernels(operation_, heads, operands);
  }

  ProjectedOptions o_;
  const char* operation_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<nn::ResidualMLP<T>>> projections_;
  FeatureMapLayer<T> kernel_;
  nn::Norm<T> norm_;
  nn::Linear<T> out_proj_;
};

}  // namespace flr::mixers
