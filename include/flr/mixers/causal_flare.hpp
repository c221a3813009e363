// Causal FLARE: each latent gathers from the tokens up to t, and token t reads the latents as they
// are then (the causal form of arXiv 2508.12594; computed chunk by chunk as in causal-flare).
//
//   y_t = Σ_m p_tm z_tm,   p_t = softmax over m of s_t,   s_tm = scale · k_t·q_m,
//   z_tm = Σ_{τ≤t} exp(s_τm − L_tm) v_τ,   L_tm = log Σ_{τ≤t} exp(s_τm)
// The state after a token is (L, z): B·H·M·(D+1) numbers, whatever the length. Two states merge as
// L = log(e^L₁ + e^L₂), z = e^(L₁−L) z₁ + e^(L₂−L) z₂, and prefixes are merged in order:
//   across chunks: states of chunks, scanned; each token reads the one before its chunk;
//   within a chunk: the later half of a block of 2b tokens reads the earlier half, for b = c/2 … 1,
//   as the product of [b×M] and [M×b] factors, and every token reads itself.
// Every exponent there is ≤ 0 (an earlier token's score never exceeds a later L), so no score
// overflows. O(N M (c + D)) work, memory linear in N; the gradient is that of these steps, exactly.
// Where the backend has one operation for it (ops/causal_flare.hpp), it takes that.
#pragma once

#include "flr/mixers/chunks.hpp"
#include "flr/mixers/flare.hpp"

namespace flr::mixers {

struct CausalFlareOptions {
  double scale = 1;
  index_t chunk = 64;                ///< c, a power of 2
  Tensor<std::uint8_t> keep = {};    ///< [B or 1,N]: padding that no latent gathers from
};

/// What the tokens so far leave: L [B,H,M] and z [B,H,M,D], of float where tokens are bf16.
template <Floating C>
struct CausalFlareState {
  Tensor<C> lse, z;
  index_t tokens = 0;  ///< how many they were, padding included
};

namespace detail {

/// What counts as log 0: finite, so that differences of two of them are 0 and not NaN.
inline constexpr double log_zero = -1e30;

/// Scores [B,H,N,M] of k [B,H,N,D] and the latents q [H,M,D] or [B or 1,H,M,D].
template <Floating T>
Tensor<T> latent_scores(const Tensor<T>& q, const Tensor<T>& k, double scale) {
  check((q.rank() == 3 || q.rank() == 4) && k.rank() == 4 && q.size(-1) == k.size(-1) &&
            q.size(-3) == k.size(1),
        "[causal_flare] expected latents [H,M,D] or [B,H,M,D] and k [B,H,N,D]; got {} and {}",
        q.shape(), k.shape());
  const Tensor<T> latents = q.rank() == 3 ? unsqueeze(q, 0) : q;
  return matmul(k, transpose(latents, -1, -2)) * static_cast<compute_t<T>>(scale);
}

/// What the earlier half of every block of 2b tokens gives the later half, [B,H,n,c,D] with zeros for
/// the earlier ones. s scores, L as above, p [B,H,n,c,M]; v [B,H,n,c,D].
template <Floating T>
Tensor<T> half_blocks(const Tensor<T>& s, const Tensor<T>& lse, const Tensor<T>& p,
                      const Tensor<T>& v, index_t b) {
  const auto half = [b](const Tensor<T>& x, index_t which) {  // [B,H,blocks,b,·]
    const Shape five{x.size(0), x.size(1), x.size(2) * x.size(3) / (2 * b), 2 * b, x.size(4)};
    return slice(reshape(x, five), 3, which * b, (which + 1) * b);
  };
  // L of the last earlier token lies between the scores of the earlier and the L of the later ones.
  // It cancels, so it needs no gradient.
  const Tensor<T> between = slice(half(lse, 0), 3, b - 1, b).detach();
  const Tensor<T> keys = map(exp(_1 - _2), half(s, 0), between);
  const Tensor<T> queries = map(_1 * exp(_2 - _3), half(p, 1), between, half(lse, 1));
  const Tensor<T> later = matmul(matmul(queries, transpose(keys, -1, -2)), half(v, 0));
  return reshape(concat<T>({zeros<T>(later.shape(), v.device()), later}, 3), v.shape());
}

}  // namespace detail

/// Latents q [H,M,D] or [B,H,M,D], k [B,H,N,D], v [B,H,N,Dv] → [B,H,N,Dv]. A `state` is where the
/// tokens before these left off (or undefined: there were none) and becomes where these do. Tokens
/// before the first that is kept give zeros.
template <Floating T>
Tensor<T> causal_flare(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v_in,
                       const CausalFlareOptions& o = {},
                       CausalFlareState<compute_t<T>>* state = nullptr) {
  using C = compute_t<T>;
  check(o.chunk > 0 && (o.chunk & (o.chunk - 1)) == 0,
        "[causal_flare] expected chunks of a power of 2, got {}", o.chunk);
  FusedCausalFlare<C> fused{.scale = o.scale, .keep = o.keep};
  if (state) fused.lse = &state->lse, fused.z = &state->z;
  if (const Tensor<T> y = fused_causal_flare(q, k, v_in, fused); y.defined()) {
    if (state) state->tokens += k.size(2);
    return y;
  }
  if constexpr (!std::same_as<T, C>) {
    return causal_flare(q.template to<C>(), k.template to<C>(), v_in.template to<C>(), o, state)
        .template to<T>();
  } else {
    check(v_in.rank() == 4 && v_in.size(2) == k.size(2),
          "[causal_flare] expected v [B,H,{},D], got {}", k.size(2), v_in.shape());
    const index_t tokens = k.size(2);
    if (tokens == 0) return v_in;
    Tensor<T> scores = detail::latent_scores(q, k, o.scale);
    const Tensor<T> read = softmax(scores, -1);
    if (o.keep.defined())
      scores = map(where(_2, _1, detail::log_zero), scores,
                   nn::keep_factors<T>("causal_flare", o.keep, k.size(0), tokens));
    // As long as nothing is kept, weights are those of one log 0 to another.
    const Tensor<T> values = nn::hide_padding("causal_flare", v_in, o.keep);
    index_t c = o.chunk;
    while (c / 2 >= tokens) c /= 2;
    const Tensor<T> s = to_chunks(scores, c, detail::log_zero);  // [B,H,n,c,M]
    const Tensor<T> p = to_chunks(read, c), v = to_chunks(values, c);

    // L and z before each chunk and after the last, [B,H,n+1,M] and [B,H,n+1,M,D].
    const Tensor<T> within = logcumsumexp(s, 3);
    const index_t n = s.size(2);
    const Shape one{s.size(0), s.size(1), 1, s.size(4)};
    const bool resumed = state && state->lse.defined();
    const Tensor<T> lse0 = resumed ? unsqueeze(state->lse, 2)
                                   : full<T>(one, static_cast<T>(detail::log_zero), s.device());
    const Tensor<T> totals = squeeze(slice(within, 3, c - 1, c), 3);
    const Tensor<T> before = logcumsumexp(concat<T>({lse0, totals}, 2), 2);
    const Tensor<T> from = slice(before, 2, 0, n), to = slice(before, 2, 1, n + 1);
    const Tensor<T> weights = map(exp(_1 - _2), s, unsqueeze(to, 3));
    const Tensor<T> gathered = matmul(transpose(weights, -1, -2), v);
    const Tensor<T> z0 = resumed ? unsqueeze(state->z, 2)
                                 : zeros<T>({one[0], one[1], 1, one[3], v.size(4)}, s.device());
    const Tensor<T> decay = concat<T>({ones<T>(one, s.device()), map(exp(_1 - _2), from, to)}, 2);
    const Tensor<T> z = scan(unsqueeze(decay, -1), concat<T>({z0, gathered}, 2), 2);
    if (state) {
      state->lse = squeeze(slice(before, 2, n, n + 1), 2);
      state->z = squeeze(slice(z, 2, n, n + 1), 2);
      state->tokens += tokens;
    }

    const Tensor<T> lse = logaddexp(within, unsqueeze(from, 3));
    const Tensor<T> self = sum(map(_1 * exp(_2 - _3), p, s, lse), {-1}, true);
    Tensor<T> y = matmul(map(_1 * exp(_2 - _3), p, unsqueeze(from, 3), lse), slice(z, 2, 0, n)) +
                  self * v;
    for (index_t b = c / 2; b >= 1; b /= 2) y = y + detail::half_blocks(s, lse, p, v, b);
    return from_chunks(y, tokens);
  }
}

/// One token: k [B,H,1,D], v [B,H,1,Dv] → [B,H,1,Dv]. Time and memory do not depend on how many came
/// before.
template <Floating T>
Tensor<T> causal_flare_step(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                            CausalFlareState<compute_t<T>>& state, double scale = 1) {
  using C = compute_t<T>;
  if constexpr (!std::same_as<T, C>) {
    return causal_flare_step(q.template to<C>(), k.template to<C>(), v.template to<C>(), state, scale)
        .template to<T>();
  } else {
    check(k.rank() == 4 && k.size(2) == 1 && v.rank() == 4 && v.size(2) == 1,
          "[causal_flare_step] expected one token [B,H,1,D], got k {} and v {}", k.shape(), v.shape());
    const Tensor<T> scores = detail::latent_scores(q, k, scale);  // [B,H,1,M]
    const Tensor<T> s = squeeze(scores, 2);
    if (!state.lse.defined()) {
      state.lse = s;
      state.z = broadcast_to(v, {v.size(0), v.size(1), s.size(2), v.size(3)}).clone();
    } else {
      const Tensor<T> lse = logaddexp(s, state.lse);
      state.z = map(_1 * exp(_2 - _3) + _4 * exp(_5 - _3), state.z, unsqueeze(state.lse, -1),
                    unsqueeze(lse, -1), v, unsqueeze(s, -1));
      state.lse = lse;
    }
    ++state.tokens;
    return matmul(softmax(scores, -1), state.z);
  }
}

/// FLARE's layer (mixers/flare.hpp: the same parameters under the same names) with causal hops.
template <Floating T>
class CausalFlare : public Flare<T> {
 public:
  /// `rotary`, where given, turns the keys by their positions, from one call with a state to the next
  /// too; it must outlive this module.
  explicit CausalFlare(const FlareOptions& o, const nn::Rotary<T>* rotary = nullptr)
      : Flare<T>(o, rotary) {
    check(o.attn_drop == 0, "[causal_flare] weights are never in memory here, so none can be dropped; "
          "got attn_drop {}", o.attn_drop);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    return apply(x, keep, nullptr);
  }
  /// The same for tokens that go on where `state` left off, which is taken along. Padding leaves nothing
  /// in it but its place.
  template <Floating A>
  Tensor<A> prefill(const Tensor<A>& x, CausalFlareState<compute_t<A>>& state,
                    const Tensor<std::uint8_t>& keep = {}) const {
    return apply(x, keep, &state);
  }
  /// One token x [B,1,C] → [B,1,C], in time and memory that do not depend on how many came before.
  template <Floating A>
  Tensor<A> step(const Tensor<A>& x, CausalFlareState<compute_t<A>>& state) const {
    return this->output(causal_flare_step(latents<A>(), this->keys(x, state.tokens), this->values(x), state,
                                          this->options().scale));
  }

 private:
  template <Floating A>
  Tensor<A> apply(const Tensor<A>& x, const Tensor<std::uint8_t>& keep,
                  CausalFlareState<compute_t<A>>* state) const {
    CausalFlareOptions o;
    o.scale = this->options().scale;
    o.keep = keep;
    const index_t first = state ? state->tokens : 0;
    return this->output(causal_flare(latents<A>(), this->keys(x, first), this->values(x), o, state));
  }
  /// [H,M,D], also where all heads share one set.
  template <Floating A>
  Tensor<A> latents() const {
    const Tensor<A> q = this->template queries<A>();
    return broadcast_to(q, {this->options().heads, q.size(1), q.size(2)});
  }
};

}  // namespace flr::mixers
