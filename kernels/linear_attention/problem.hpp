// Linear attention as its kernels see it (ops/linear_attention.hpp has the formulas).
//
// Two passes forward: states (S, z) from keys and values, tokens split over the chip, then outputs
// from queries. Two backward: queries give dq and the state's gradient in one pass, then keys and
// values give dk and dv. Every operand is read once in a pass.
//
// A warp takes 16 tokens of `W` = 32 or 64 channels: several narrow heads side by side (`together`),
// or one. The state is then a matrix of W×W with the heads' own on its diagonal; what lies beside it
// is not used, and costs only products of tensor cores that wait for memory anyway.
#pragma once

#include "flare/problem.hpp"

namespace flr::cuda::linear_attention {

using flare::GradOf;
using flare::Heads;

inline constexpr int warps = 8, threads = 32 * warps, tile = 16;
/// Channels of the widest head, and of the widest whose features a lane's quad has all of.
inline constexpr int most_width = 64, most_unit_width = 32;

struct Sizes {
  index_t B = 0, H = 0, Nq = 0, Nk = 0;
  int D = 0;
  int together = 1;  ///< heads in the channels of a warp
  int shift = 31;    ///< log2 D if several are together: shifts are cheap, divisions are not
  int groups = 1;    ///< ⌈H / together⌉
  int beside = 1;    ///< groups of a block: neighbours, which share the lines of a token
  Feature feature = Feature::identity;
  bool unit_q = false, unit_k = false;
  float epsilon = 0;

  /// The head, of those together, that channel c of a warp belongs to.
  constexpr int head_of(int c) const { return c >> shift; }
  /// Numbers of a head's [S|z].
  constexpr index_t state() const { return index_t{D} * (D + 1); }
  /// Blocks along y.
  constexpr index_t others() const { return B * ((groups + beside - 1) / beside); }
};

template <class T>
struct Keys {
  Sizes n;
  Heads<const T> k, v;
  const std::uint8_t* keep = nullptr;
  index_t keep_batch = 0;
};

/// state [B,H,D,D+1] from keys and values.
template <class T>
void key_states(const Keys<T>&, float* state);
/// y from queries and the state.
template <class T>
void query_outputs(const Sizes&, const Heads<const T>& q, const float* state, const Heads<T>& y);
/// dq, and slope [B,H,D,D+1], the gradient of the state.
template <class T>
void query_gradients(const Sizes&, const Heads<const T>& q, const Heads<const T>& dy,
                     const float* state, float* slope, const GradOf<T>& dq);
/// dk and dv from the state's gradient.
template <class T>
void key_gradients(const Keys<T>&, const float* slope, const GradOf<T>& dk, const GradOf<T>& dv);

/// state = the sum of parts [B,H,splits,D,D+1] in their order.
void merge_states(const Sizes&, const float* parts, int splits, float* state);

}  // namespace flr::cuda::linear_attention
