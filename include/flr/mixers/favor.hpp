// FAVOR+: positive random features of the softmax kernel (Choromanski et al. 2021, arXiv 2009.14794,
// lemma 1 and §3.3).
//
//   exp(D^−½ q·k) = E_ω[φ(q)·φ(k)],   φ(x)_r = R^−½ exp(ω_r·x̃ − ‖x̃‖²/2),   x̃ = D^−¼ x,  ω ~ N(0, 1)
// Orthogonal ω with the lengths of independent Gaussian vectors leave the mean and lessen the
// variance. Factors that a query's features share, and those that all keys of a head share, cancel
// in attention; they are chosen so that no exponential overflows. Where the backend has one operation
// for features (ops/favor.hpp), they are that.
#pragma once

#include "flr/nn.hpp"

namespace flr::mixers {

struct FavorOptions {
  bool normalize_inputs = true;  ///< x̃ = D^−¼ x; otherwise x itself, and the kernel exp(q·k)
  double epsilon = 1e-6;         ///< added to every feature
  /// The reference's features: rows of length 1, every token's maximum subtracted from keys too
  /// (which changes their weights), epsilon added before R^−½.
  bool legacy = false;
};

/// `features` rows for each head [H,R,D], on the host, from the random state's next draws. Rows come
/// in blocks of D that are orthogonal to each other; `legacy`: independent, all of length 1.
template <Floating T>
Tensor<T> favor_rows(index_t heads, index_t features, index_t d, bool legacy = false) {
  check(heads > 0 && features > 0 && d > 0, "[favor] expected positive extents, got [{},{},{}]", heads,
        features, d);
  std::vector<double> rows = randn<double>({heads, features, d}).to_vector();
  const std::vector<double> other = randn<double>({heads, features, d}).to_vector();
  const auto dot = [d](const double* a, const double* b) {
    double s = 0;
    for (index_t i = 0; i < d; ++i) s += a[i] * b[i];
    return s;
  };
  for (index_t r = 0; r < heads * features; ++r) {
    double* row = rows.data() + r * d;
    const index_t within = legacy ? 0 : r % features % d;  // rows of its block that are there already
    for (int twice = 0; twice < 2; ++twice)                // once more against rounding
      for (index_t i = 1; i <= within; ++i) {
        const double* earlier = row - i * d;
        const double along = dot(row, earlier) / dot(earlier, earlier);
        for (index_t c = 0; c < d; ++c) row[c] -= along * earlier[c];
      }
    const double* drawn = other.data() + r * d;
    const double length = legacy ? 1 : std::sqrt(dot(drawn, drawn));
    const double factor = length / std::sqrt(dot(row, row));
    for (index_t c = 0; c < d; ++c) row[c] *= factor;
  }
  return from_vector(rows, {heads, features, d}).template to<T>();
}

/// What x̃ is of x.
inline double favor_factor(index_t d, const FavorOptions& o) {
  return o.normalize_inputs ? std::pow(static_cast<double>(d), -0.25) : 1;
}

/// The logarithm of √R φ: x [B,H,N,D], rows [H,R,D] → [B,H,N,R].
template <Floating T>
Tensor<T> favor_exponents(const Tensor<T>& x_in, const Tensor<T>& rows,
                          const FavorOptions& o = {}) {
  check(x_in.rank() == 4 && rows.rank() == 3 && x_in.size(3) == rows.size(2) &&
            x_in.size(1) == rows.size(0),
        "[favor] expected x [B,H,N,D] and rows [H,R,D]; got {} and {}", x_in.shape(), rows.shape());
  const Tensor<T> x = x_in * static_cast<compute_t<T>>(favor_factor(x_in.size(3), o));
  const Tensor<T> along = matmul(x, transpose(unsqueeze(rows, 0), -1, -2));
  return map(_1 - _2 / 2.0, along, sum(square(x), {-1}, true));
}

namespace detail {

/// Features as one operation; undefined where the backend has none.
template <Floating T>
Tensor<compute_t<T>> favor_in_one(const Tensor<T>& x, const Tensor<compute_t<T>>& rows,
                                  const FavorOptions& o, bool shared_maximum,
                                  const Tensor<std::uint8_t>& keep = {}) {
  const double scale = 1 / std::sqrt(static_cast<double>(rows.size(1)));
  return fused_favor(x, rows,
                     {.factor = favor_factor(x.size(3), o),
                      .scale = scale,
                      .offset = o.legacy ? scale * o.epsilon : o.epsilon,
                      .shared_maximum = shared_maximum,
                      .keep = keep});
}

}  // namespace detail

/// Features of queries, in float for bf16; rows as in favor_exponents.
template <Floating T>
Tensor<compute_t<T>> favor_queries(const Tensor<T>& q, const Tensor<compute_t<T>>& rows,
                                   const FavorOptions& o = {}) {
  using C = compute_t<T>;
  if (const Tensor<C> one = detail::favor_in_one(q, rows, o, false); one.defined()) return one;
  const Tensor<C> e = favor_exponents(q.template to<C>(), rows, o);
  const double factor = 1 / std::sqrt(static_cast<double>(rows.size(1)));
  const double outside = o.legacy ? factor * o.epsilon : o.epsilon;
  return map(exp(_1 - _2) * factor + outside, e, max(e, {3}, true));
}

/// Features of keys, in float for bf16; padding that `keep` [B or 1,N] hides has no part in their
/// maximum.
template <Floating T>
Tensor<compute_t<T>> favor_keys(const Tensor<T>& k, const Tensor<compute_t<T>>& rows,
                                const FavorOptions& o = {},
                                const Tensor<std::uint8_t>& keep = {}) {
  using C = compute_t<T>;
  if (o.legacy) return favor_queries(k, rows, o);
  if (const Tensor<C> one = detail::favor_in_one(k, rows, o, true, keep); one.defined()) return one;
  Tensor<C> e = favor_exponents(k.template to<C>(), rows, o);
  if (keep.defined()) {
    const Tensor<C> kept = nn::keep_factors<C>("favor", keep, k.size(0), k.size(2));
    e = map(where(_2, _1, -1e30), e, kept);
  }
  const double factor = 1 / std::sqrt(static_cast<double>(rows.size(1)));
  return map(exp(_1 - _2) * factor + o.epsilon, e, max(e, {2, 3}, true));
}

}  // namespace flr::mixers
