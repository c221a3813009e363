// Norm attention: linear attention whose denominator is replaced by a norm of the result (Qin, Han,
// Sun, Li, Kong, Barnes & Zhong 2022, TransNormer, arXiv 2210.10340).
//
//   y = φ(q) (φ(k)ᵀ v) / N;   module: out_proj(RMSNorm(merge y)), φ = elu + 1
// The division by N keeps sums in range; the norm takes it out again.
#pragma once

#include "flr/mixers/multilinear.hpp"

namespace flr::mixers {

/// Features of q and k [B,H,N,E], v [B,H,N,D] → [B,H,N,D], not yet normed. `keep` [B or 1,N] hides
/// padding.
template <Floating T>
Tensor<T> norm_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                         const Tensor<std::uint8_t>& keep = {}) {
  return matmul(q, detail::mean_state("norm_attention", k, v, keep));
}

struct NormAttentionOptions {
  index_t channels = 64, heads = 8;
  double drop = 0;  ///< behind out_proj
  /// The row of that name in FLARE's table: features are the unit vectors of q and k, projections
  /// add their input, the norm is a layer norm.
  bool legacy = false;
};

/// Parameters have the names of multilinear attention with one state.
template <Floating T>
class NormAttention : public Multilinear<T> {
 public:
  explicit NormAttention(const NormAttentionOptions& o) : Multilinear<T>(as_multilinear(o)) {}

 private:
  static MultilinearOptions as_multilinear(const NormAttentionOptions& o) {
    MultilinearOptions m;
    m.states = 1;
    m.channels = o.channels, m.heads = o.heads, m.drop = o.drop;
    m.residual = m.norm_q = m.norm_k = o.legacy;
    m.kernel = o.legacy ? FeatureMap::identity : FeatureMap::elu;
    m.norm = o.legacy ? nn::NormKind::layer : nn::NormKind::rms;
    return m;
  }
};

}  // namespace flr::mixers
