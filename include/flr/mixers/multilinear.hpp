// Multilinear attention (FLARE.py, lra/models): the states of several linear attentions, multiplied
// element by element.
//
//   S = ⊙_ℓ (k_ℓᵀ v_ℓ / N)  [D×D],   y = q S,   ℓ = 1 … L;   module: out_proj(norm(merge y))
// No denominator: the norm takes its place. O(L N D²).
#pragma once

#include "flr/mixers/outer_product.hpp"
#include "flr/mixers/projected.hpp"

namespace flr::mixers {

namespace detail {

/// kᵀ v over the real tokens, divided by their number: [B,H,N,E], [B,H,N,D] → [B,H,E,D].
template <Floating T>
Tensor<T> mean_state(const char* operation, const Tensor<T>& k, const Tensor<T>& v,
                     const Tensor<std::uint8_t>& keep) {
  check(k.rank() == 4 && v.rank() == 4 && k.size(2) == v.size(2),
        "[{}] expected k [B,H,N,E] and v [B,H,N,D]; got {} and {}", operation, k.shape(),
        v.shape());
  const Tensor<T> shown = nn::hide_padding(operation, v, keep);
  if (const auto s = state_by_kernels(operation, {k}, shown, keep); s.defined()) return s;
  return matmul(transpose(k, -1, -2), shown) / nn::real_tokens(operation, v, keep);
}

/// q S: [B,H,N,E], [B,H,E,D] → [B,H,N,D].
template <Floating T>
Tensor<T> read_state(const char* operation, const Tensor<T>& q, const Tensor<T>& state) {
  if (has_outer_kernels<T>(operation, {q}, 2, state)) return outer_read<T>({q}, state);
  return matmul(q, state);
}

}  // namespace detail

/// q [B,H,N,E], as many keys [B,H,N,E] as values [B,H,N,D] → [B,H,N,D]. `keep` [B or 1,N] hides
/// padding.
template <Floating T>
Tensor<T> multilinear_attention(const Tensor<T>& q, const std::vector<Tensor<T>>& keys,
                                const std::vector<Tensor<T>>& values,
                                const Tensor<std::uint8_t>& keep = {}) {
  check(!keys.empty() && keys.size() == values.size(),
        "[multilinear] expected as many keys as values, and one at least; got {} and {}",
        keys.size(), values.size());
  Tensor<T> state = detail::mean_state("multilinear", keys[0], values[0], keep);
  for (std::size_t i = 1; i < keys.size(); ++i)
    state = state * detail::mean_state("multilinear", keys[i], values[i], keep);
  return detail::read_state("multilinear", q, state);
}

struct MultilinearOptions : ProjectedOptions {
  int states = 2;  ///< L
};

template <Floating T>
class Multilinear : public Projected<T> {
 public:
  explicit Multilinear(const MultilinearOptions& o)
      : Projected<T>("multilinear", o, names(o.states)), states_(o.states) {}

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    return this->mix(x, [&](const auto& h) {
      using Heads = std::remove_cvref_t<decltype(h)>;
      const auto first = h.begin() + 1, middle = first + states_;
      return multilinear_attention(h[0], Heads(first, middle), Heads(middle, h.end()), keep);
    });
  }

 private:
  static std::vector<std::string> names(int states) {
    check(states > 0, "[multilinear] expected one state at least, got {}", states);
    std::vector<std::string> list{"q_proj"};
    for (const char* kind : {"k_projs.", "v_projs."})
      for (int i = 0; i < states; ++i) list.push_back(kind + std::to_string(i));
    return list;
  }

  int states_;
};

}  // namespace flr::mixers
