// Sums of outer products of token vectors as the kernels see them (core/outer_params.hpp):
// the operands are `factors` whose outer product is a token's feature vector, and one more.
//
//   state:  S[a,j] = Σ_n F[n,a] v[n,j],  F[n,·] = x₀[n] ⊗ x₁[n] ⊗ …      [D^factors, D]
//   read:   y[n,j] = Σ_a F[n,a] S[a,j]
// The last factor is the fast one; the product of those before it is a token's slow number.
#pragma once

#include "flare/problem.hpp"

namespace flr::cuda::outer_product {

using flare::Heads;

inline constexpr int max_factors = max_outer_operands - 1;

constexpr index_t power(index_t base, int exponent) {
  index_t p = 1;
  for (int i = 0; i < exponent; ++i) p *= base;
  return p;
}

/// The widest head whose state fits shared memory in bf16, by the number of factors.
constexpr index_t widest(int factors) {
  return factors == 1 ? 64 : factors == 2 ? 32 : 16;
}

template <class T>
struct ReadOf {
  int H = 0;
  index_t B = 0, N = 0;
  Heads<const T> factor[max_factors];  ///< those that are not the axis, in order
  const T* state = nullptr;            ///< [B,H,D^(factors+1)]
  int axis = 0;                        ///< of the state that y has
  float scale = 1;
  Heads<T> y;
  bool accumulate = false;
};

/// Adds parts [B,H,splits,D^operands] in order of splits into the state of p, times p.scale.
template <class T>
void merge_parts(const OuterStateParams<T>& p, const float* parts, index_t splits) {
  const index_t features = power(p.D, p.operands - 1), size = features * p.D;
  flare::Sizes n;
  n.B = int(p.B), n.H = int(p.H), n.M = int(features), n.D = int(p.D), n.N = p.N;
  flare::reduce_partials(n, parts, int(splits), p.scale,
                         flare::GradOf<T>{{p.state, {p.H * size, size, p.D}}, p.mode});
}

/// The call that reads along one axis.
template <class T>
ReadOf<T> read_along(const OuterReadParams<T>& p, int axis) {
  ReadOf<T> r;
  r.H = int(p.H), r.B = p.B, r.N = p.N;
  for (int a = 0, i = 0; a < p.operands; ++a)
    if (a != axis) r.factor[i++] = {p.x[a], p.xs[a]};
  r.state = p.state, r.axis = axis, r.scale = p.scale;
  r.y = {p.y[axis], p.ys[axis]}, r.accumulate = p.mode[axis] == GradMode::accumulate;
  return r;
}

void state(const OuterStateParams<bf16>&);
void state(const OuterStateParams<float>&);
void read(const OuterReadParams<bf16>&);
void read(const OuterReadParams<float>&);

/// Calls f.template operator()<D, Factors>() for what is supported.
template <class F>
void with_shape(index_t D, int factors, F f) {
  const auto width = [&]<int Factors>() {
    switch (D) {
      case 8: return f.template operator()<8, Factors>();
      case 16: return f.template operator()<16, Factors>();
      case 32:
        if constexpr (widest(Factors) >= 32) return f.template operator()<32, Factors>();
        break;
      case 64:
        if constexpr (widest(Factors) >= 64) return f.template operator()<64, Factors>();
        break;
      default: break;
    }
  };
  switch (factors) {
    case 1: return width.template operator()<1>();
    case 2: return width.template operator()<2>();
    case 3: return width.template operator()<3>();
    default: break;
  }
}

}  // namespace flr::cuda::outer_product
