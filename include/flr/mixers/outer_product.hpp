// Linear attention whose features are outer products, so that the state has an axis for each
// factor:
//
//   S = Σ_n (k1_n ⊗ k2_n ⊗ …) v_nᵀ / N,   y_n = (q1_n ⊗ q2_n ⊗ …)ᵀ S
// The features of all tokens would take N D^m elements. They are made for a block of tokens at a
// time, and again in backward, so that the state is the largest thing in memory. Where the backend
// has kernels for both sums (ops/outer_product.hpp), features are never in memory at all.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

/// Several factors [B,H,N,Dᵢ] side by side, [B,H,N,ΣDᵢ].
template <Floating T>
struct OuterFactors {
  Tensor<T> packed;
  std::vector<index_t> widths;

  OuterFactors(const char* operation, const std::vector<Tensor<T>>& factors) {
    for (const Tensor<T>& f : factors) {
      check(f.rank() == 4, "[{}] expected factors [B,H,N,D], got {}", operation, f.shape());
      widths.push_back(f.size(3));
      size *= f.size(3);
    }
    packed = concat(factors, 3);
  }

  /// The features of a part of `packed`: [B,H,n,ΠDᵢ], the last factor fastest.
  static Tensor<T> features(const Tensor<T>& part, const std::vector<index_t>& widths) {
    const auto factors = split(part, widths, 3);
    Tensor<T> f = factors[0];
    for (std::size_t i = 1; i < factors.size(); ++i)
      f = reshape(unsqueeze(f, 4) * unsqueeze(factors[i], 3),
                  {f.size(0), f.size(1), f.size(2), f.size(3) * factors[i].size(3)});
    return f;
  }

  /// Tokens whose features are made at once if the caller does not say: four million elements.
  index_t block(index_t asked) const {
    const index_t token = packed.size(0) * packed.size(1) * size;
    return asked > 0 ? asked
                     : std::max<index_t>(1, (index_t{1} << 22) / std::max<index_t>(1, token));
  }

  index_t size = 1;  ///< ΠDᵢ
};

namespace detail {

/// The state of keys and values that are zero where `keep` hides a token, from the backend's
/// kernels; undefined where it has none for them.
template <Floating T>
Tensor<T> state_by_kernels(const char* operation, std::vector<Tensor<T>> operands,
                           const Tensor<T>& v, const Tensor<std::uint8_t>& keep) {
  operands.push_back(v);
  if (!has_outer_kernels(operation, operands, operands.size())) return {};
  if (!keep.defined()) return outer_state(operands, 1 / static_cast<double>(v.size(2)));
  return outer_state(operands, 1) / nn::real_tokens(operation, v, keep);
}

}  // namespace detail

/// Keys [B,H,N,Dᵢ] and v [B,H,N,D] → S [B,H,ΠDᵢ,D]. `keep` [B or 1,N] hides padding.
template <Floating T>
Tensor<T> outer_product_state(const char* operation, const std::vector<Tensor<T>>& keys,
                              const Tensor<T>& v_in, const Tensor<std::uint8_t>& keep,
                              index_t block = 0) {
  check(!keys.empty() && keys[0].rank() == 4 && v_in.rank() == 4 && v_in.size(2) == keys[0].size(2),
        "[{}] expected v [B,H,N,D] for keys {}, got {}", operation,
        keys.empty() ? Shape{} : keys[0].shape(), v_in.shape());
  const Tensor<T> v = nn::hide_padding(operation, v_in, keep);
  if (const auto s = detail::state_by_kernels(operation, keys, v, keep); s.defined()) return s;
  const OuterFactors<T> k(operation, keys);
  const index_t tokens = k.packed.size(2), step = k.block(block);
  const auto term = [widths = k.widths](const Tensor<T>& part, const Tensor<T>& values) {
    return matmul(transpose(OuterFactors<T>::features(part, widths), -1, -2), values);
  };
  Tensor<T> state;
  if (step >= tokens)
    state = term(k.packed, v);
  else
    for (index_t n = 0; n < tokens; n += step) {
      const index_t end = std::min(tokens, n + step);
      const Tensor<T> t = recompute(term, slice(k.packed, 2, n, end), slice(v, 2, n, end));
      state = state.defined() ? state + t : t;
    }
  return state / nn::real_tokens(operation, v, keep);
}

/// Queries [B,H,N,Dᵢ] and S [B,H,ΠDᵢ,D] → y [B,H,N,D].
template <Floating T>
Tensor<T> outer_product_read(const char* operation, const std::vector<Tensor<T>>& queries,
                             const Tensor<T>& state, index_t block = 0) {
  if (has_outer_kernels(operation, queries, queries.size() + 1, state))
    return outer_read(queries, state);
  const OuterFactors<T> q(operation, queries);
  check(state.rank() == 4 && state.size(2) == q.size,
        "[{}] expected a state of {} features, got {}", operation, q.size, state.shape());
  const index_t tokens = q.packed.size(2), step = q.block(block);
  const auto read = [widths = q.widths](const Tensor<T>& part, const Tensor<T>& s) {
    return matmul(OuterFactors<T>::features(part, widths), s);
  };
  if (step >= tokens) return read(q.packed, state);
  std::vector<Tensor<T>> parts;
  for (index_t n = 0; n < tokens; n += step)
    parts.push_back(recompute(read, slice(q.packed, 2, n, std::min(tokens, n + step)), state));
  return concat(parts, 2);
}

}  // namespace flr::mixers
