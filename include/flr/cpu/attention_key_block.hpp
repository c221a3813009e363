// What the backward pass holds of some keys of one head, and the tile of P and dS made from it:
//
//   P = 2^(S − L), dP = dy vᵀ, dS = P ∘ (dP − δ), δ_i = dy_i · y_i,
// with scores S and log-sum-exps L in units of log 2. Rows of a tile are queries, lanes are keys.
#pragma once

#include "flr/cpu/attention_problem.hpp"
#include "flr/cpu/attention_tile.hpp"
#include "flr/cpu/transpose.hpp"

FLR_CPU_BEGIN
namespace attention {

/// Rows and lanes of a tile: two tiles are 12 KiB with AVX2.
inline constexpr index_t tile_rows = 16;
template <class T>
inline constexpr index_t tile_lanes = 12 * lanes<T>;

/// What backward needs of each query, [B·H][Nq]: log-sum-exp in units of log 2, and δ.
template <class T>
struct QueryStatistics {
  const T *lse, *delta;
};

template <class T>
class KeyBlock {
  using V = Vec<T>;
  static constexpr int width = lanes<T>;

 public:
  /// Room for up to `capacity` keys.
  KeyBlock(const SdpaBackwardParams<T>& p, index_t capacity)
      : p_(p.f),
        call_(p),
        k_(round_up(capacity, tile_lanes<T>) * p.f.D),
        v_(round_up(capacity, tile_lanes<T>) * p.f.Dv),
        hidden_(round_up(capacity, tile_lanes<T>)) {}

  /// Takes keys [j, j + n) of head (b, h).
  void load_keys(index_t b, index_t h, index_t j, index_t n) {
    b_ = b, h_ = h, first_ = j, count_ = n;
    const T* k = head(p_.k, p_.ks, b, h) + j * p_.ks.row;
    const T* v = head(p_.v, p_.vs, b, h) + j * p_.vs.row;
    const std::uint8_t* keep = p_.keep ? p_.keep + b * p_.keep_batch + j : nullptr;
    for (index_t t = 0; t < n; t += tile_lanes<T>) {
      const index_t valid = std::min(tile_lanes<T>, n - t);
      if (valid < tile_lanes<T>) {
        std::fill_n(k_.data() + t * p_.D, tile_lanes<T> * p_.D, T(0));
        std::fill_n(v_.data() + t * p_.Dv, tile_lanes<T> * p_.Dv, T(0));
      }
      simd::transpose(k + t * p_.ks.row, p_.ks.row, valid, p_.D, k_.data() + t * p_.D,
                      tile_lanes<T>, score_scale(p_));
      simd::transpose(v + t * p_.vs.row, p_.vs.row, valid, p_.Dv, v_.data() + t * p_.Dv,
                      tile_lanes<T>);
      for (index_t l = 0; l < tile_lanes<T>; ++l)
        hidden_[t + l] = l < valid && (!keep || keep[t + l]) ? T(0) : T(1);
    }
  }

  index_t count() const { return count_; }
  /// Vectors of the tile that begins at key t of the block, the last one filled with hidden keys.
  index_t vectors(index_t t) const { return ceil_div(std::min(tile_lanes<T>, count_ - t), width); }
  /// Keys, scaled to give scores, and values of that tile: [channel][tile_lanes].
  const T* keys(index_t t) const { return k_.data() + t * p_.D; }

  /// Whether no query before i + n sees a key of the tile at t, or of a later one.
  bool beyond(index_t t, index_t i, index_t n) const {
    return first_ + t >= visible_keys(p_, i + n - 1);
  }

  /// P and, unless null, dS of queries [i, i + rows) and the tile at t, both [row][tile_lanes].
  void tile(const QueryStatistics<T>& s, index_t i, index_t rows, index_t t, T* weight,
            T* slope) const {
    const T* q = head(p_.q, p_.qs, b_, h_) + i * p_.qs.row;
    const T* dy = head(call_.dout, call_.dos, b_, h_) + i * call_.dos.row;
    const index_t at = (b_ * p_.H + h_) * p_.Nq + i, n = vectors(t);
    const T *const lse = s.lse + at, *const delta = s.delta + at;
    bool restricted = p_.bias || n * width > count_ - t ||
                      first_ + t + n * width > visible_keys(p_, i);
    if (p_.keep)
      for (index_t l = 0; l < n * width; ++l) restricted |= hidden_[t + l] != 0;
    for_groups(n, [&](index_t vector, auto size) {
      constexpr int P = decltype(size)::value;
      const index_t lane = vector * width;
      T* const w = weight + lane;
      if (restricted) {
        dots<P>(q, p_.qs.row, rows, keys(t) + lane, tile_lanes<T>, p_.D,
                [&](index_t r, int p, V score)
                    FLR_LAMBDA_INLINE { store(w + r * tile_lanes<T> + p * width, score); });
        restrict_tile<P>(i, rows, t + lane, w);
        for (index_t r = 0; r < rows; ++r)
          for (int p = 0; p < P; ++p) {
            T* const x = w + r * tile_lanes<T> + p * width;
            store(x, exp2_weight<T>(load(x) - splat(lse[r])));
          }
      } else {
        dots<P>(q, p_.qs.row, rows, keys(t) + lane, tile_lanes<T>, p_.D,
                [&](index_t r, int p, V score) FLR_LAMBDA_INLINE {
                  store(w + r * tile_lanes<T> + p * width, exp2_weight<T>(score - splat(lse[r])));
                });
      }
      if (slope)
        dots<P>(dy, call_.dos.row, rows, v_.data() + t * p_.Dv + lane, tile_lanes<T>, p_.Dv,
                [&](index_t r, int p, V dp) FLR_LAMBDA_INLINE {
                  const index_t x = r * tile_lanes<T> + p * width;
                  store(slope + lane + x, load(w + x) * (dp - splat(delta[r])));
                });
    });
  }

 private:
  /// Adds biases and hides what may not be seen, in P vectors of raw scores from key `lane` on.
  template <int P>
  void restrict_tile(index_t i, index_t rows, index_t lane, T* scores) const {
    const HeadBias<T> bias(p_, b_, h_);
    const index_t valid = std::min<index_t>(P * width, count_ - lane);
    T added[P * width] = {};
    for (index_t r = 0; r < rows; ++r) {
      if (bias.data)
        for (index_t l = 0; l < valid; ++l) added[l] = bias(i + r, first_ + lane + l);
      const index_t until = std::clamp<index_t>(visible_keys(p_, i + r) - first_ - lane, 0, valid);
      for (int p = 0; p < P; ++p) {
        T* const x = scores + r * tile_lanes<T> + p * width;
        const V score = fma(load(added + p * width), splat(log2_e<T>), load(x));
        const Mask<T> seen = (iota<T>() + T(p * width) < T(until)) &
                             (load(hidden_.data() + lane + p * width) == V{});
        store(x, select<T>(seen, score, splat(-infinity<T>)));
      }
    }
  }

  const SdpaParams<T>& p_;
  const SdpaBackwardParams<T>& call_;
  index_t b_ = 0, h_ = 0, first_ = 0, count_ = 0;
  detail::Scratch<T> k_, v_;   ///< by tiles, [channel][tile_lanes]
  detail::Scratch<T> hidden_;  ///< 1 for keys that the mask hides and for filling
};

}  // namespace attention
FLR_CPU_END
