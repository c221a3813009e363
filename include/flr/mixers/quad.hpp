// Quad attention (FLARE.py, lra/models): a state of fourth order.
//
//   S_ijkl = Σ_n k1_ni v_nj k2_nk k3_nl / N,   y_nj = Σ_ikl q1_ni S_ijkl q2_nk q3_nl;
//   module: out_proj(norm(merge y))
// O(N D⁴) work, D⁴ elements of state a head.
#pragma once

#include "flr/mixers/outer_product.hpp"
#include "flr/mixers/projected.hpp"

namespace flr::mixers {

/// Three queries, three keys and v [B,H,N,D] → [B,H,N,D]. `keep` [B or 1,N] hides padding; `block`
/// is the number of tokens worked on at once (0: chosen by memory).
template <Floating T>
Tensor<T> quad_attention(const std::vector<Tensor<T>>& queries, const std::vector<Tensor<T>>& keys,
                         const Tensor<T>& v, const Tensor<std::uint8_t>& keep = {},
                         index_t block = 0) {
  check(queries.size() == 3 && keys.size() == 3,
        "[quad] expected three queries and three keys, got {} and {}", queries.size(), keys.size());
  return outer_product_read("quad", queries, outer_product_state("quad", keys, v, keep, block),
                            block);
}

template <Floating T>
class Quad : public Projected<T> {
 public:
  explicit Quad(const ProjectedOptions& o)
      : Projected<T>("quad", o,
                     {"q1_proj", "q2_proj", "q3_proj", "k1_proj", "k2_proj", "k3_proj", "v_proj"}) {
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    return this->mix(x, [&](const auto& h) {
      using Heads = std::remove_cvref_t<decltype(h)>;
      return quad_attention(Heads{h[0], h[1], h[2]}, Heads{h[3], h[4], h[5]}, h[6], keep);
    });
  }
};

}  // namespace flr::mixers
