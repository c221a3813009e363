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

/// Rows and lanes of a tile: two tiles are 18 KiB with AVX2.
inline constexpr index_t tile_rows = 24;
template <class T>
inline constexpr index_t tile_lanes = 12 * lanes<T>;

/// What backward needs of each query, [B·H][Nq]: log-sum-exp in units of log 2, and δ.
template <class T>
struct QueryStatistics {
  const T *lse, *delta;
};

/// Up to tile_rows queries of one head, packed.
template <class T>
class QueryRows {
 public:
  QueryRows(const SdpaBackwardParams<T>& p, const QueryStatistics<T>& statistics)
      : p_(p),
        statistics_(statistics),
        q_memory_(tile_rows * p.f.D),
        dy_memory_(tile_rows * p.f.Dv) {}

  void load_rows(index_t b, index_t h, index_t i, index_t n) {
    const SdpaParams<T>& f = p_.f;
    const index_t at = (b * f.H + h) * f.Nq + i;
    first = i, count = n, lse = statistics_.lse + at, delta = statistics_.delta + at;
    q = pack_rows(head(f.q, f.qs, b, h) + i * f.qs.row, f.qs.row, n, f.D, q_memory_.data());
    dy = pack_rows(head(p_.dout, p_.dos, b, h) + i * p_.dos.row, p_.dos.row, n, f.Dv,
                   dy_memory_.data());
  }

  index_t first = 0, count = 0;
  const T *q = nullptr, *dy = nullptr;  ///< [row][D] and [row][Dv]
  const T *lse = nullptr, *delta = nullptr;

 private:
  const SdpaBackwardParams<T>& p_;
  const QueryStatistics<T>& statistics_;
  detail::Scratch<T> q_memory_, dy_memory_;
};

template <class T>
class KeyBlock {
  using V = Vec<T>;
  static constexpr int width = lanes<T>;

 public:
  /// Room for up to `capacity` keys.
  KeyBlock(const SdpaBackwardParams<T>& p, index_t capacity)
      : p_(p.f),
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

  /// Whether none of the queries sees a key of the tile at t, or of a later one.
  bool beyond(index_t t, const QueryRows<T>& rows) const {
    return first_ + t >= visible_keys(p_, rows.first + rows.count - 1);
  }

  /// P and, unless null, dS of the queries and the tile at t, both [row][tile_lanes].
  void tile(const QueryRows<T>& rows, index_t t, T* weight, T* slope) const {
    const index_t n = vectors(t);
    bool restricted =
        p_.bias || n * width > count_ - t || first_ + t + n * width > visible_keys(p_, rows.first);
    if (p_.keep)
      for (index_t l = 0; l < n * width; ++l) restricted |= hidden_[t + l] != 0;
    for_groups(n, [&](index_t vector, auto size) {
      constexpr int P = decltype(size)::value;
      const index_t lane = vector * width;
      const auto put = [&](index_t r, int p, V score) FLR_LAMBDA_INLINE {
        store(weight + r * tile_lanes<T> + lane + p * width, score);
      };
      dots<P>(rows.q, p_.D, rows.count, keys(t) + lane, tile_lanes<T>, p_.D, put);
      if (restricted) restrict_tile<P>(rows.first, rows.count, t + lane, weight + lane);
    });
    // Apart from the products: together, their constants would crowd the sums out of registers.
    for (index_t r = 0; r < rows.count; ++r) {
      const V zero = splat(rows.lse[r]);
      for (index_t lane = 0; lane < n * width; lane += width) {
        T* const x = weight + r * tile_lanes<T> + lane;
        store(x, exp2_weight<T>(load(x) - zero));
      }
    }
    if (!slope) return;
    for_groups(n, [&](index_t vector, auto size) {
      constexpr int P = decltype(size)::value;
      const index_t lane = vector * width;
      const auto put = [&](index_t r, int p, V dp) FLR_LAMBDA_INLINE {
        const index_t x = r * tile_lanes<T> + lane + p * width;
        store(slope + x, load(weight + x) * (dp - splat(rows.delta[r])));
      };
      dots<P>(rows.dy, p_.Dv, rows.count, v_.data() + t * p_.Dv + lane, tile_lanes<T>, p_.Dv, put);
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
  index_t b_ = 0, h_ = 0, first_ = 0, count_ = 0;
  detail::Scratch<T> k_, v_;   ///< by tiles, [channel][tile_lanes]
  detail::Scratch<T> hidden_;  ///< 1 for keys that the mask hides and for filling
};

}  // namespace attention
FLR_CPU_END
