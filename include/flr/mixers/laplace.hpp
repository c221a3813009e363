// Attention with MEGA's Laplace function in place of softmax (Ma et al. 2022, arXiv 2209.10655, §3):
// bounded, and each weight independent of the other keys.
//
//   w_ij = ½ (1 + erf((s_ij − μ)/(σ√2))),  s = q kᵀ/N + bias,  μ = √½, σ = (4π)^−½;   y = w v
// μ and σ make it meet squared ReLU, value and slope, at s = √½.
#pragma once

#include <numbers>

#include "flr/mixers/query_blocks.hpp"

namespace flr::mixers {

/// bias(j − i) of a table for distances −(L−1) … L−1, for N ≤ L tokens: [2L−1] → [N,N].
template <Floating T>
Tensor<T> relative_bias(const Tensor<T>& table, index_t n) {
  check(table.rank() == 1 && table.size(0) % 2 == 1 && n > 0,
        "[relative_bias] expected a table [2L-1] and tokens, got {} and {}", table.shape(), n);
  const index_t zero = table.size(0) / 2;
  check(n <= zero + 1, "[relative_bias] got {} tokens, the table was made for at most {}", n,
        zero + 1);
  // 2N values, distances 0 … N−1, one unused, −(N−1) … −1; read again and again in rows of 2N − 1,
  // every row starts one later.
  const Tensor<T> row = concat<T>({slice(table, 0, zero, zero + n), zeros<T>({1}, table.device()),
                                   slice(table, 0, zero - (n - 1), zero)},
                                  0);
  const Tensor<T> all = reshape(broadcast_to(reshape(row, {1, 2 * n}), {n, 2 * n}), {2 * n * n});
  return slice(reshape(slice(all, 0, 0, n * (2 * n - 1)), {n, 2 * n - 1}), 1, 0, n);
}

/// q, k [B,H,N,E], v [B,H,N,D], bias [N,N] or undefined → [B,H,N,D]. `keep` [B or 1,N] hides
/// padding, and N is then the number of real tokens. `block` is the number of queries worked on at
/// once (0: chosen by memory).
template <Floating T>
Tensor<T> laplace_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                            const Tensor<T>& bias = {}, const Tensor<std::uint8_t>& keep = {},
                            index_t block = 0) {
  check(q.rank() == 4 && q.shape() == k.shape() && v.rank() == 4 && v.size(2) == k.size(2),
        "[laplace] expected q and k [B,H,N,E] and v [B,H,N,D]; got {}, {} and {}", q.shape(),
        k.shape(), v.shape());
  const index_t n = q.size(2);
  check(!bias.defined() || bias.shape() == Shape{n, n}, "[laplace] expected a bias [{},{}], got {}",
        n, n, bias.defined() ? bias.shape() : Shape{});
  const Tensor<T> scaled = q / nn::real_tokens("laplace", v, keep);
  const Tensor<T> table = bias.defined() ? bias : zeros<T>({1, 1}, q.device());
  const auto attend = [](index_t begin, const Tensor<T>& rows, const Tensor<T>& keys,
                         const Tensor<T>& values, const Tensor<T>& all) {
    constexpr double mean = std::numbers::sqrt2 / 2;
    const double rate = std::sqrt(2 * std::numbers::pi);  // 1/(σ√2)
    const Tensor<T> own = all.size(0) == 1 ? all : slice(all, 0, begin, begin + rows.size(2));
    const Tensor<T> s = matmul(rows, transpose(keys, -1, -2));
    return matmul(map((erf((_1 + _2 - mean) * rate) + 1.0) * 0.5, s, own), values);
  };
  return over_query_blocks(attend, query_block(block, n, q.size(0) * q.size(1) * n), scaled, k,
                           nn::hide_padding("laplace", v, keep), table);
}

}  // namespace flr::mixers
