// FAVOR+ features as their kernels see them (ops/favor.hpp has the formulas).
//
// A warp owns some tokens with all their features, each lane every 32nd one, so that products are
// multiply-adds of a row's number that differs by lane and a token's that does not, a token's
// maximum stays within its warp, and features are written in whole lines. A block is eight warps
// that walk over tokens of one head, with the head's rows in shared memory: all of them, or where
// they are too large, some channels at a time.
#pragma once

#include "flare/problem.hpp"

namespace flr::cuda::favor {

using flare::GradOf;
using flare::Heads;

inline constexpr int warps = 8, threads = 32 * warps;
inline constexpr int most_features = 1024, most_width = 128;

/// Tokens of a warp whose lanes have F features each.
constexpr int tokens_of(int F) {
  return F < 8 ? 8 : 64 / F;
}
/// From one channel of the rows to the next: four banks further.
constexpr int pitch_of(int F) {
  return 32 * F + 4;
}
/// Calls f.template operator()<F>() for the features that a lane has.
template <class F>
void with_features(index_t R, F f) {
  if (R <= 64) return f.template operator()<2>();
  if (R <= 128) return f.template operator()<4>();
  if (R <= 256) return f.template operator()<8>();
  if (R <= 512) return f.template operator()<16>();
  return f.template operator()<32>();
}

template <class T>
struct Problem {
  index_t B = 0, H = 0, N = 0;
  int D = 0, R = 0;
  int width = 0, depth = 0;  ///< D in whole fours; channels of rows in shared memory at once
  index_t groups = 0;        ///< of tokens that a block works on at once
  index_t splits = 1, split_groups = 0;
  float factor = 1, scale = 1, offset = 0;
  Heads<const T> x;
  const float* rows = nullptr;
  const std::uint8_t* keep = nullptr;
  index_t keep_batch = 0;

  constexpr unsigned blocks() const { return unsigned(B * H * splits); }
  constexpr index_t tiles() const { return groups * warps; }  ///< of a head: a warp's tokens each
};

enum class Features : unsigned char { queries, maxima, keys };
/// keys: tiles that do not attain their head's maximum; attaining: those that do.
enum class Slopes : unsigned char { queries, keys, attaining };

/// What the warps leave of their tokens, [B,H,tiles]: Σ dφ p, and how many exponents are the
/// maximum.
struct Parts {
  float *sums = nullptr, *counts = nullptr;
};

/// Bytes of shared memory of a block, for the forward or the backward pass.
constexpr int shared_bytes(int F, int width, int depth, bool backward) {
  const int of_warp = tokens_of(F) * (width + (backward ? 32 * F : 0));
  return (depth * pitch_of(F) + warps * of_warp) * int(sizeof(float));
}

/// y [B,H,N,R] from own maxima or those of heads [B,H]; or with `maxima` y is [B,H,tiles], the
/// greatest exponent of each tile.
template <class T>
void forward(const Problem<T>&, Features, const float* maximum, float* y);
template <class T>
void backward(const Problem<T>&, Slopes, const float* dy, const float* maximum, const Parts&,
              const float* share, const GradOf<T>& dx);

/// maximum [heads] of parts [heads,tiles].
void collect_maxima(const float* parts, index_t heads, index_t tiles, float* maximum);
/// share [heads] = −Σ sums / Σ counts: what each exponent that attains the maximum receives.
void collect_shares(const Parts&, index_t heads, index_t tiles, float* share);

}  // namespace flr::cuda::favor
