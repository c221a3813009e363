// Causal FLARE as its kernels see it (ops/causal_flare.hpp has the formulas). Exponents are in base
// 2 here: s_tm = scale · log2(e) · k_t·q_m, L_tm the logarithm of what latent m has gathered.
//
// With a reference ref_m for some tokens, y_t = Σ_τ≤t (Σ_m a_tm b_τm) v_τ is causal linear
// attention with the features
//
//   a_tm = p_tm 2^(ref_m − L_tm) of queries,   b_τm = 2^(s_τm − ref_m) of keys.
// ref_m is L_m of the last of these tokens: no key is above 1, and queries stay in range as long as
// no L grows by more than most_growth from the first token to the last. So a tile of 64 tokens is
// one range, or as many as it takes; a single token is always one. As 2^(L_tm − ref_m) is the sum
// of the keys so far, features need no logarithms.
//
// The state between ranges is Z_m = Σ 2^(s_τm − L_m) v_τ with L; every exponent is ≤ 0. Tokens are
// cut into segments and tiles as those of causal_linear/ are. Gradients, with g_t = dy_t:
//
//   c_tm = a_tm (Σ_τ≤t (g_t·v_τ) b_τm + g_t·Z_m),       δ_t = Σ_m c_tm        (forward in time)
//   R_τm = Σ_t≥τ a_tm g_t,   Q_τm = Σ_t≥τ c_tm 2^(ref_m − L_tm)                (backward in time)
//   ds_tm = c_tm − p_tm δ_t + b_tm (R_tm·v_t − Q_tm),   dv_τ = Σ_m b_τm R_τm
#pragma once

#include "causal_linear/problem.hpp"
#include "flr/core/causal_flare_params.hpp"

namespace flr::cuda::latents {

using causal::threads;
using causal::tile;
using flare::GradOf;
using flare::Heads;

inline constexpr int most_latents = 128;
/// What counts as log 0: finite, so that differences of two of them are 0 and not NaN.
inline constexpr float log_zero = -1e30f;
/// Of an L within a range, in base 2: queries stay below 2^86, and what a key loses where it is
/// rounded to 0 is less than 2^-40.
inline constexpr float most_growth = 86;

/// q are the latents.
template <class T>
struct Problem : causal::Problem<T> {
  int M = 0;
  float log2_scale = 1;  ///< scale · log2(e)
  constexpr index_t tiles() const { return ceil_div(this->N, tile); }
};

/// What every segment starts from: L [B,H,segments+1,M], the last after all tokens, and the
/// transposed Z [B,H,segments,W,M]; M and W padded. Null: from nothing.
struct States {
  float *lse = nullptr, *z = nullptr;
};
/// A state that comes from tokens before these and goes to those after them, with natural
/// logarithms: L [B,H,M] and Z [B,H,M,D], each may be null.
struct Carried {
  const float *lse_in = nullptr, *z_in = nullptr;
  float *lse_out = nullptr, *z_out = nullptr;
};

/// What the gradients' two walks share: c [B,H,N,M] and δ [B,H,N] of the tokens, L before every
/// tile [B,H,tiles,M], and what every segment starts from at its end: the transposed R and below it
/// Q, [B,H,segments,W+1,M], relative to L there; null: nothing, with one segment.
template <class T>
struct Walks {
  T* c = nullptr;
  float *delta = nullptr, *tile_lse = nullptr, *beyond = nullptr;
};

template <class T, int M, int W>
void make_states(const Problem<T>&, const States&, const Carried&);
/// Each segment's own states, which become those that it starts from; `own_lse` [B,H,segments,M].
void carry(const States&, const float* own_lse, const Carried&, index_t heads, index_t segments,
           int latents, int columns, int M, int W);
/// The same from the last segment to the first, for what `beyond` holds.
void carry_back(float* beyond, const float* lse, index_t heads, index_t segments, int M, int W);

template <class T, int M, int W>
void forward(const Problem<T>&, const States&, const Heads<T>& y);
/// Fills `walks`; `beyond` with each segment's own share, relative to L before it.
template <class T, int M, int W>
void backward_read(const Problem<T>&, const States&, const Walks<T>& walks);
/// Gradients from these; `dq_parts` [B,H,segments,latents,E] may be null.
template <class T, int M, int W>
void backward_gather(const Problem<T>&, const Walks<T>& walks, float* dq_parts, const GradOf<T>& dk,
                     const GradOf<T>& dv);

/// What a block takes at most of shared memory.
template <class T, int M, int W>
int shared_bytes();

/// Calls f.template operator()<M, W>() for what latents and channels are padded to.
template <class F>
auto with_padded_sizes(index_t latents, index_t width, F f) {
  const auto with_latents = [&]<int M>() {
    if (width <= 16) return f.template operator()<M, 16>();
    if (width <= 32) return f.template operator()<M, 32>();
    return f.template operator()<M, 64>();
  };
  if (latents <= 32) return with_latents.template operator()<32>();
  if (latents <= 64) return with_latents.template operator()<64>();
  return with_latents.template operator()<128>();
}

}  // namespace flr::cuda::latents
