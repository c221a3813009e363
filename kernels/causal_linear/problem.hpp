// Causal linear attention as its kernels see it (ops/causal_linear.hpp has the formulas).
//
// The tokens of a head are cut into segments, and these into tiles of 64. A block goes through the
// tiles of one segment with the state S = Σ κ φ(k) v'ᵀ in its registers; v' is v and, where outputs
// are divided by their weights, columns of ones. What a segment starts from is made before:
// every segment's own sum (states), then sums of these in order (carry). Backward does the same
// from the last token on with R = Σ φ(q) gᵀ, g the gradient of the undivided outputs:
//
//   o_i = S_iᵀ φ(q_i),  dφ(q_i) = S_i g_i,  dφ(k_j) = κ_j R_j v'_j,  dv_j = R_jᵀ κ_j φ(k_j)
// where the sums over i and j within a tile are products of 64×64 that are 0 above the diagonal.
#pragma once

#include "flare/problem.hpp"

namespace flr::cuda::causal {

using flare::GradOf;
using flare::Heads;

inline constexpr int tile = 64, threads = 128;
/// Channels of the widest head.
inline constexpr int most_width = 64;

template <class T>
struct Problem {
  index_t B = 0, H = 0, N = 0;
  int E = 0, D = 0;
  bool normalize = false;
  float scale = 1, epsilon = 0;
  Feature feature = Feature::identity;
  index_t segments = 1, segment_tiles = 1;
  Heads<const T> q, k, v, dy;
  bool q_packed = false, k_packed = false, v_packed = false, dy_packed = false;
  const std::uint8_t* keep = nullptr;
  index_t keep_batch = 0;
  /// [B,H,N]: g = inverse · dy, and `rest` for the columns of ones. Null: g = scale · dy.
  const float *inverse = nullptr, *rest = nullptr;

  unsigned blocks() const { return unsigned(B * H * segments); }
};

/// Whether rows of `columns` values can be read 16 bytes at once.
template <class T>
bool packs(const T* x, const HeadStrides& s, index_t columns) {
  constexpr index_t pack = 16 / sizeof(T);
  return columns % pack == 0 && s.batch % pack == 0 && s.head % pack == 0 && s.row % pack == 0 &&
         reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
}
/// Segments enough for eight blocks a multiprocessor: every further one costs a state to write and
/// to read.
template <class T>
void cut(Problem<T>& p) {
  const index_t tiles = ceil_div(p.N, tile),
                wanted = ceil_div(index_t{8} * multiprocessors(), p.B * p.H);
  p.segment_tiles = ceil_div(tiles, wanted < tiles ? wanted : tiles);
  p.segments = ceil_div(tiles, p.segment_tiles);
}

/// Columns of v': a whole fragment more than v has.
constexpr int values_width(int W) {
  return W + 8;
}
/// Numbers of one state.
constexpr index_t state_size(int W) {
  return index_t{W} * values_width(W);
}

/// What every segment starts from, [B,H,segments,W,W+8]: S, or with `backward` R.
template <class T, int W>
void make_states(const Problem<T>&, float* states, bool backward);

template <class T>
void forward(const Problem<T>&, const Heads<T>& y, float* d);
/// inverse = 1/d and rest = −(dy·y)/d for every token.
template <class T>
void coefficients(const Problem<T>&, const Heads<const T>& y, const float* d, float* inverse,
                  float* rest);
template <class T>
void backward_query(const Problem<T>&, const GradOf<T>& dq);
template <class T>
void backward_key(const Problem<T>&, const GradOf<T>& dk, const GradOf<T>& dv);

/// What a block takes at most of shared memory, in backward_key.
template <class T>
int most_shared_bytes(int E, int D);

/// Calls f.template operator()<W>() for the width that heads of E and D channels are padded to.
template <class F>
auto with_padded_width(int E, int D, F f) {
  const int width = E > D ? E : D;
  if (width <= 16) return f.template operator()<16>();
  if (width <= 32) return f.template operator()<32>();
  return f.template operator()<64>();
}

}  // namespace flr::cuda::causal
