// Linearised Strassen attention (FLARE.py, lra/models): what remains of Strassen attention
// (mixers/strassen.hpp) when its exponentials are replaced by their arguments.
//
//   S_ℓ = k_ℓᵀ v_ℓ / N,  m_ℓ = mean_n v_ℓ,  ℓ = 1, 2;
//   y = g1 (q S_1) ⊙ m_2 + g2 Σ_i (S_1 ⊙ S_2)_i + g3 (q S_2) ⊙ m_1 + g4 q (S_1 ⊙ S_2)
// with a gate g for each head; module: out_proj(norm(merge y)). O(N D²).
#pragma once

#include "flr/mixers/multilinear.hpp"

namespace flr::mixers {

/// q, k1, k2 [B,H,N,E], v1, v2 [B,H,N,D], four gates [H] → [B,H,N,D]. `keep` [B or 1,N] hides
/// padding.
template <Floating T>
Tensor<T> strassen_linear_attention(const Tensor<T>& q, const Tensor<T>& k1, const Tensor<T>& k2,
                                    const Tensor<T>& v1, const Tensor<T>& v2,
                                    const std::array<Tensor<T>, 4>& gates,
                                    const Tensor<std::uint8_t>& keep = {}) {
  const char* name = "strassen_linear";
  const auto gate = [&](int i) {
    const Tensor<T>& g = gates[static_cast<std::size_t>(i)];
    check(g.shape() == Shape{q.size(1)}, "[strassen_linear] expected gates [{}], got {}", q.size(1),
          g.shape());
    return reshape(g, {1, g.size(0), 1, 1});
  };
  const auto token_mean = [&](const Tensor<T>& v) {
    return sum(nn::hide_padding(name, v, keep), {2}, true) / nn::real_tokens(name, v, keep);
  };
  const Tensor<T> s1 = detail::mean_state(name, k1, v1, keep);
  const Tensor<T> s2 = detail::mean_state(name, k2, v2, keep);
  const Tensor<T> both = s1 * s2;
  const Tensor<T> single =
      map(_1 * _2 * _3 + _4 * _5 * _6, gate(0), detail::read_state(name, q, s1), token_mean(v2),
          gate(2), detail::read_state(name, q, s2), token_mean(v1));
  return map(_1 + _2 * _3 + _4 * _5, single, gate(1), sum(both, {2}, true), gate(3),
             detail::read_state(name, q, both));
}

struct StrassenLinearOptions : ProjectedOptions {
  /// The reference starts its gates at 0: the layer then gives exactly 0, and its norm magnifies
  /// the first gradients by ε^−½. Without it they start at 1.
  bool legacy = false;
};

template <Floating T>
class StrassenLinear : public Projected<T> {
 public:
  explicit StrassenLinear(const StrassenLinearOptions& o)
      : Projected<T>("strassen_linear", o, {"q_proj", "k1_proj", "k2_proj", "v1_proj", "v2_proj"}) {
    for (std::size_t i = 0; i < gates.size(); ++i) {
      gates[i] = this->add_parameter("g" + std::to_string(i + 1), {o.heads}, nn::Role::other);
      if (!o.legacy) nn::fill(gates[i], 1);
    }
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding. The gates are never rounded, so heads
  /// are not left in bf16.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    return this->mix(x, [&](const std::vector<Tensor<compute_t<A>>>& h) {
      return strassen_linear_attention(h[0], h[1], h[2], h[3], h[4], gates, keep);
    });
  }

  std::array<Tensor<T>, 4> gates;
};

}  // namespace flr::mixers
