// Third-order attention: softmax over all pairs of tokens, with a trilinear score (FLARE.py,
// lra/models; compare the 2-simplicial attention of Clift et al. 2019, arXiv 1909.00668).
//
//   y_i = Σ_jk w_ijk v1_j ⊙ v2_k,   w_i = softmax_jk D^−½ Σ_d a_id b_jd c_kd
// O(N³ D) work. A block of queries at a time keeps memory at O(N²).
#pragma once

#include "flr/mixers/strassen.hpp"

namespace flr::mixers {

/// a, b, c, v1, v2 [B,H,N,D] → [B,H,N,D]. `keep` [B or 1,N] hides padding; `block` is the number of
/// queries worked on at once (0: chosen by memory).
template <Floating T>
Tensor<T> third_order_attention(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& c,
                                const Tensor<T>& v1, const Tensor<T>& v2,
                                const Tensor<std::uint8_t>& keep = {}, index_t block = 0) {
  detail::check_triples("third_order", {&a, &b, &c, &v1, &v2});
  const index_t batch = a.size(0), heads = a.size(1), n = a.size(2), d = a.size(3);
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  const Tensor<T> mask = detail::pair_mask("third_order", a, keep);
  const auto attend = [=](index_t, const Tensor<T>& rows, const Tensor<T>& second,
                          const Tensor<T>& third, const Tensor<T>& left, const Tensor<T>& right) {
    const index_t i = rows.size(2);
    const Tensor<T> products = reshape(
        map(_1 * _2 * scale, unsqueeze(rows, 3), unsqueeze(second, 2)), {batch, heads, i * n, d});
    const Tensor<T> scores = matmul(products, transpose(third, -1, -2));
    return detail::attend_to_pairs(reshape(scores, {batch, heads, i, n, n}), mask, left, right);
  };
  return over_query_blocks(attend, query_block(block, n, batch * heads * n * n), a, b, c, v1, v2);
}

enum class PairScore : unsigned char { third_order, strassen };

struct ThirdOrderOptions {
  index_t channels = 64, heads = 8;
  PairScore score = PairScore::third_order;
  index_t block = 0;  ///< queries at once; 0: chosen by memory
  double drop = 0;    ///< behind out_proj
  /// The reference's layer: a, b, c, v1, v2 lie by head in att_proj, and Strassen's weights are its
  /// factors (StrassenOptions).
  bool legacy = false;
};

/// att_proj: C → 5C, cut into a, b, c, v1, v2; attention to pairs, in float for activations in
/// bf16; out_proj: C → C.
template <Floating T>
class ThirdOrder : public nn::Module<T> {
 public:
  explicit ThirdOrder(const ThirdOrderOptions& o)
      : o_(o), att_proj_(o.channels, 5 * o.channels), out_proj_(o.channels, o.channels) {
    nn::head_dim("third_order", o.channels, o.heads);
    this->add_child("att_proj", att_proj_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    using C = compute_t<A>;
    const auto h = heads(att_proj_(x).template to<C>());
    const Tensor<C> y =
        o_.score == PairScore::strassen
            ? strassen_attention(h[0], h[1], h[2], h[3], h[4], keep, {o_.block, o_.legacy})
            : third_order_attention(h[0], h[1], h[2], h[3], h[4], keep, o_.block);
    return dropout(out_proj_(nn::merge_heads(y).template to<A>()), o_.drop, this->training());
  }

 private:
  template <Floating C>
  std::vector<Tensor<C>> heads(const Tensor<C>& joint) const {
    if (o_.legacy) return chunk(nn::split_heads(joint, o_.heads), 5, -1);
    auto parts = chunk(joint, 5, -1);
    for (Tensor<C>& part : parts) part = nn::split_heads(part, o_.heads);
    return parts;
  }

  ThirdOrderOptions o_;
  nn::Linear<T> att_proj_, out_proj_;
};

}  // namespace flr::mixers
