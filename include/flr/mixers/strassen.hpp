// Strassen attention (Kozachinskiy et al. 2025, arXiv 2501.19215): attention to pairs
// whose score is a sum over the sides of a triangle.
//
//   y_i = Σ_jk w_ijk v1_j ⊙ v2_k,   w_i = softmax_jk D^−½ (a_i·b_j + b_j·c_k + c_k·a_i)
// The weights factor into three matrices, exp(ab) exp(bc) exp(ca), each of which overflows or
// vanishes by itself. Here their exponents are added first, a block of queries at a time: O(N²)
// memory.
#pragma once

#include "flr/mixers/pair_attention.hpp"

namespace flr::mixers {

struct StrassenOptions {
  index_t block = 0;  ///< queries at once; 0: chosen by memory
  /// The reference's factors: each is divided by a maximum of its own (ab over j, bc over j and k,
  /// ca over k), and 1e-6 is added to the denominator. Where the three maxima belong to different
  /// pairs all weights vanish, and y with them. Knows no padding.
  bool legacy = false;
};

/// a, b, c, v1, v2 [B,H,N,D] → [B,H,N,D]. `keep` [B or 1,N] hides padding.
template <Floating T>
Tensor<T> strassen_attention(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& c,
                             const Tensor<T>& v1, const Tensor<T>& v2,
                             const Tensor<std::uint8_t>& keep = {}, const StrassenOptions& o = {}) {
  detail::check_triples("strassen", {&a, &b, &c, &v1, &v2});
  check(!(o.legacy && keep.defined()),
        "[strassen] the legacy formula takes no padding mask; leave out legacy or the mask");
  const index_t n = a.size(2);
  const double scale = 1 / std::sqrt(static_cast<double>(a.size(3)));
  const Tensor<T> mask = detail::pair_mask("strassen", a, keep);
  const auto attend = [=, legacy = o.legacy](index_t, const Tensor<T>& rows,
                                             const Tensor<T>& second, const Tensor<T>& third,
                                             const Tensor<T>& side, const Tensor<T>& left,
                                             const Tensor<T>& right) {
    Tensor<T> ab = unsqueeze(matmul(rows, transpose(second, -1, -2)), 4);  // [B,H,I,N,1]
    Tensor<T> ca = unsqueeze(matmul(rows, transpose(third, -1, -2)), 3);   // [B,H,I,1,N]
    const Tensor<T> bc = unsqueeze(side, 2);                               // [B,H,1,N,N]
    if (!legacy) {
      const Tensor<T> scores = map((_1 + _2 + _3) * scale, ab, bc, ca);
      return detail::attend_to_pairs(scores, mask, left, right);
    }
    ab = ab - max(ab, {3}, true), ca = ca - max(ca, {4}, true);
    const Tensor<T> w = map(exp((_1 + _2 + _3) * scale), ab, bc - max(bc, {3, 4}, true), ca);
    return detail::sum_pairs(map(_1 / (_2 + 1e-6), w, sum(w, {3, 4}, true)), left, right);
  };
  const Tensor<T> side = matmul(b, transpose(c, -1, -2));
  const index_t block = query_block(o.block, n, a.size(0) * a.size(1) * n * n);
  return over_query_blocks(attend, block, a, b, c, side, v1, v2);
}

}  // namespace flr::mixers
