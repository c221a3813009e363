// The performer's attention as its kernels see it (core/performer_params.hpp has the formulas):
// features of tokens are made on tensor cores where they are used, and never stored.
//
// Exponents are counted in powers of two: with ω' = log₂e · factor · ω in two pieces of bf16, which
// hold 16 of its bits, an exponent is two products and is exact to 2⁻¹³ or so where one would be
// wrong by percents. Forward: maxima of the heads' keys and norms; sums (S, z) over keys; outputs.
// Backward: dq, with what the state's gradient needs of every query; sums over queries; dk and dv; and
// for each head the one key that attains its maximum.
#pragma once

#include "flare/problem.hpp"

namespace flr::cuda::performer {

using flare::GradOf;
using flare::Heads;

inline constexpr int warps = 8, threads = 32 * warps, tile = 16;
inline constexpr int most_features = 512;

struct Problem {
  index_t B = 0, H = 0, Nq = 0, Nk = 0;
  int D = 0, R = 0;
  float factor = 1, scale = 1, offset = 0, epsilon = 0;
  Heads<const bf16> q, k, v;
  const float* rows = nullptr;
  const std::uint8_t* keep = nullptr;
  index_t keep_batch = 0;

  constexpr index_t heads() const { return B * H; }
  /// Numbers of a head's [S|z].
  constexpr index_t state() const { return index_t{R} * (D + 1); }
};

/// What a sum over tokens runs over: Σ_n φ_n (v_n|w_n)ᵀ with φ_nr = scale · 2^(ω'_r·x_n + c_n − m) +
/// offset, and 0 where c_n is −∞.
struct Terms {
  index_t N = 0;
  Heads<const bf16> x, v;
  const float* c = nullptr;        ///< [B,H,N]
  const float* maximum = nullptr;  ///< [B,H]; null: m is 0
  const float* w = nullptr;        ///< [B,H,N]; null: ones
};

/// c [B,H,Nk] = −log₂e ‖k̃‖²/2, −∞ for hidden keys; maximum and attained of each head.
void key_maxima(const Problem&, float* c, float* maximum, index_t* attained);
/// state [B,H,R,D+1].
void sums(const Problem&, const Terms&, float* state);
void outputs(const Problem&, const float* state, const Heads<bf16>& y);
/// dq, and what makes `sums` compute the state's gradient: of each query c, which is minus its
/// greatest exponent, dy/d and e.
void query_gradients(const Problem&, const float* state, const Heads<const bf16>& dy, float* c,
                     bf16* over, float* e, const GradOf<bf16>& dq);
/// How many totals key_gradients leaves of each head.
int key_gradient_parts(const Problem&);
/// dk and dv from the gradient of the state; totals [B,H,parts]: sums of all exponents' gradients.
void key_gradients(const Problem&, const float* c, const float* maximum, const float* slope,
                   float* totals, const GradOf<bf16>& dk, const GradOf<bf16>& dv);
/// Takes the totals from the key that attains its head's maximum.
void settle_maxima(const Problem&, const index_t* attained, const float* totals,
                   const GradOf<bf16>& dk);

/// Bytes of shared memory of the largest kernel.
int shared_bytes(const Problem&);

}  // namespace flr::cuda::performer
