// Triple attention (FLARE.py, lra/models): a state of third order.
//
//   S_ijk = Σ_n k1_ni v_nj k2_nk / N,   y_nj = Σ_ik q1_ni S_ijk q2_nk;   module:
//   out_proj(norm(merge y))
// O(N D³) work, D³ elements of state a head.
#pragma once

#include "flr/mixers/outer_product.hpp"
#include "flr/mixers/projected.hpp"

namespace flr::mixers {

/// q1, q2, k1, k2, v [B,H,N,D] → [B,H,N,D]. `keep` [B or 1,N] hides padding; `block` is the number
/// of tokens worked on at once (0: chosen by memory). The state [B,H,i,j,k] comes through
/// `state_out`.
template <Floating T>
Tensor<T> triple_attention(const Tensor<T>& q1, const Tensor<T>& q2, const Tensor<T>& k1,
                           const Tensor<T>& k2, const Tensor<T>& v,
                           const Tensor<std::uint8_t>& keep = {}, index_t block = 0,
                           Tensor<T>* state_out = nullptr) {
  const Tensor<T> s = outer_product_state<T>("triple", {k1, k2}, v, keep, block);
  if (state_out)
    *state_out = permute(reshape(s, {s.size(0), s.size(1), k1.size(3), k2.size(3), v.size(3)}),
                         {0, 1, 2, 4, 3});
  return outer_product_read<T>("triple", {q1, q2}, s, block);
}

template <Floating T>
class Triple : public Projected<T> {
 public:
  explicit Triple(const ProjectedOptions& o)
      : Projected<T>("triple", o, {"q1_proj", "q2_proj", "k1_proj", "k2_proj", "v_proj"}) {}

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    return this->mix(
        x, [&](const auto& h) { return triple_attention(h[0], h[1], h[2], h[3], h[4], keep); });
  }
};

}  // namespace flr::mixers
