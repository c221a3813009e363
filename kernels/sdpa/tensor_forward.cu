// Attention forward on tensor cores: y = softmax(scale · q kᵀ) v by online softmax
// (FlashAttention-2, arXiv 2307.08691), bf16 with sums in float.
//
// Bound by one exponential a score up to D = 32, by products beyond. A warp owns 32 queries: q,
// what scores are measured from, the sums of weights and of weighted values stay in its registers; keys
// and values stream through shared memory, the next tile while this one is computed with. Two neighbouring score tiles are,
// as they stand, A of the product with the values. The weights are summed as they were rounded, by a
// product with ones.
//
// A weight far above 1 is as exact as one below: what scores are measured from need not be their
// maximum, if only no weight leaves the range of float. So a warp takes the maximum of the first
// keys it sees and goes through all others without looking for a larger one, which would be a
// comparison a score and a branch that keeps products and exponentials apart. If the sums say that a
// score passed it by 2⁶⁰ after all, the block begins again and follows the running maximum.
#include "sdpa/tensor.hpp"
#include "sdpa/tensor_mask.cuh"

namespace flr::cuda::attention::tensor {
namespace {

template <class T, int Depth>
struct ForwardTiling {
  static constexpr int bytes = row_bytes<T, Depth>;
  static constexpr int groups = 2;  ///< of sixteen queries, a warp
  /// Whether scores are first measured from the first keys; with long rows products bound the kernel.
  static constexpr bool measures = Depth <= 64;
  static constexpr int tile = bytes <= 128 ? 128 : 64, step = bytes <= 128 ? 32 : 16;  ///< of keys
  static constexpr int resident = bytes <= 32   ? 4
                                  : bytes <= 64 ? 3
                                                : 2;  ///< as registers leave room
  static constexpr int tile_bytes = tile * bytes;
  static constexpr int shared_bytes = 4 * tile_bytes;  ///< two tiles of keys and two of values
  static constexpr int state_floats = groups * (Depth / 2 + 4) * 32;
  static_assert(tile <= threads && tile / warps % step == 0);
  static_assert(warps / 2 * state_floats * 4 <= shared_bytes);  // what merge_warps needs
};

/// The state of online softmax of sixteen queries; index 0 is row g, 1 is row g + 8.
template <int Depth>
struct State {
  Sums<Depth> o = {};
  float l[4] = {};                        ///< sums of weights, in [0] and [2]
  float top[2] = {-INFINITY, -INFINITY};  ///< what scores are measured from, in units of log 2
  bool blind = false;                     ///< measured from no score at all

  /// The same, or 0 if there was no key, so that 2^(−∞ − 0) is 0.
  static __device__ float reference(float top) { return top == -INFINITY ? 0.f : top; }
  /// 2^(a − b), also where both are −∞.
  static __device__ float factor(float a, float b) { return a == b ? 1.f : exp2_fast(a - b); }

  __device__ void rescale(float f0, float f1) {
#pragma unroll
    for (int j = 0; j < Depth / 8; ++j) o[j][0] *= f0, o[j][1] *= f0, o[j][2] *= f1, o[j][3] *= f1;
    l[0] *= f0, l[1] *= f0, l[2] *= f1, l[3] *= f1;
  }

  /// The largest score of 8·N keys, scaled, in the rows of this lane.
  template <int N>
  static __device__ void largest(const float (&s)[N][4], float scale, float (&most)[2]) {
    most[0] = most[1] = -INFINITY;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      most[0] = fmaxf(most[0], fmaxf(s[n][0], s[n][1]));
      most[1] = fmaxf(most[1], fmaxf(s[n][2], s[n][3]));
    }
    most[0] *= scale, most[1] *= scale;
  }
  /// Takes the largest of these scores for what all are measured from, 0 if there is none.
  template <int N>
  __device__ void measure_from(const float (&s)[N][4], float scale) {
    largest(s, scale, top);
    top[0] = quad_max(top[0]), top[1] = quad_max(top[1]);
    blind = top[0] == -INFINITY || top[1] == -INFINITY;
    top[0] = reference(top[0]), top[1] = reference(top[1]);
  }
  /// Whether weights may have left their range since measure_from().
  __device__ bool out_of_range() const {
    constexpr float most = 0x1p60f, least = 0x1p-60f;
    return !(l[0] < most && l[2] < most) || (blind && (l[0] < least || l[2] < least));
  }
  /// Raises the maximum to that of these scores, when one passes it by 2⁸: seldom.
  template <int N>
  __device__ void follow(const float (&s)[N][4], float scale) {
    float x[2];
    largest(s, scale, x);
    if (!__any_sync(0xffffffffu, x[0] > top[0] + 8 || x[1] > top[1] + 8)) return;
    x[0] = fmaxf(top[0], quad_max(x[0])), x[1] = fmaxf(top[1], quad_max(x[1]));
    rescale(factor(top[0], x[0]), factor(top[1], x[1]));
    top[0] = x[0], top[1] = x[1];
  }

  /// Turns scores (not yet scaled) of 8·N keys into weights.
  template <int N>
  __device__ void weigh(float (&s)[N][4], float scale) const {
    const float r0 = reference(top[0]), r1 = reference(top[1]);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] = exp2_fast(fmaf(s[n][e], scale, e < 2 ? -r0 : -r1));
  }

  /// Everything in an order of its own; f(x, i) for the i-th number of the lane.
  template <class F>
  __device__ void each(F&& f) {
#pragma unroll
    for (int x = 0; x < Depth / 2; ++x) f(o[x / 4][x % 4], x);
    f(l[0], Depth / 2), f(l[2], Depth / 2 + 1);
    f(top[0], Depth / 2 + 2), f(top[1], Depth / 2 + 3);
  }
  /// Takes in the state of other keys that a lane left at `from`, 32 apart.
  __device__ void merge(const float* from) {
    float mine[2], theirs[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float other = from[(Depth / 2 + 2 + r) * 32], both = fmaxf(top[r], other);
      mine[r] = factor(top[r], both), theirs[r] = factor(other, both);
      top[r] = both;
    }
    rescale(mine[0], mine[1]);
#pragma unroll
    for (int x = 0; x < Depth / 2; ++x) o[x / 4][x % 4] += from[x * 32] * theirs[x % 4 / 2];
    l[0] += from[Depth / 2 * 32] * theirs[0];
    l[2] += from[(Depth / 2 + 1) * 32] * theirs[1];
  }
};

/// Takes the states of the other loop warps in, in their order; complete in loop warp 0.
template <int Depth, int Groups>
__device__ void merge_warps(State<Depth> (&state)[Groups], float* memory, int own_warp,
                            int loop_warp, int loop_warps) {
  constexpr int numbers = (Depth / 2 + 4) * 32;
  float* const at = memory + own_warp * Groups * numbers + int(threadIdx.x) % 32;
  for (int w = 1; w < loop_warps; ++w) {
    __syncthreads();
    if (loop_warp == w)
#pragma unroll
      for (int m = 0; m < Groups; ++m)
        state[m].each([&](float x, int i) { at[m * numbers + i * 32] = x; });
    __syncthreads();
    if (loop_warp == 0)
#pragma unroll
      for (int m = 0; m < Groups; ++m) state[m].merge(at + m * numbers);
  }
}

template <class T, int Depth>
__global__ void __launch_bounds__(threads, ForwardTiling<T, Depth>::resident)
    forward_kernel(const __grid_constant__ SdpaParams<T> p, const __grid_constant__ Plan plan,
                   float* sums, Pack<float, 2>* states) {
  using F = ForwardTiling<T, Depth>;
  constexpr int G = F::groups, step = F::step;
  extern __shared__ uint4 tensor_memory[];
  __shared__ HiddenKeys hidden_keys;
  const unsigned memory = shared_address(tensor_memory);
  const Tile<T, Depth> lanes;
  const int warp = int(threadIdx.x) / 32, own_warp = warp % plan.own_warps,
            loop_warp = warp / plan.own_warps, share = F::tile / plan.loop_warps;
  const int g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
  const float scale = p.scale * log2_e<float>;

  for (index_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    const index_t at = unit % plan.heads, split = unit / plan.heads / plan.blocks;
    // Causal: the last queries have most to do, and come first.
    const index_t block = plan.blocks - 1 - unit / plan.heads % plan.blocks;
    const Mask<T> mask(p, at);
    const index_t block_first = block * plan.own_warps * 16 * G;
    const index_t block_last = min(p.Nq, block_first + plan.own_warps * 16 * G) - 1;
    const index_t first = block_first + own_warp * 16 * G;
    const index_t last = min(p.Nq, first + 16 * G) - 1;  // before `first` if the warp is idle
    const index_t begin = split * plan.span;
    const index_t end = min(begin + plan.span, mask.visible(block_last));
    const index_t seen = last < first ? 0 : mask.visible(last), all_see = mask.visible(first);

    Operand<T, Depth> q[G];
#pragma unroll
    for (int m = 0; m < G; ++m)
      load_operand<Depth>(q[m], head(p.q, p.qs, at, p.H), p.qs.row, first + 16 * m, p.Nq, int(p.D));
    State<Depth> state[G];
    bool measured = false;

    const auto walk = [&]<bool Follow>() {
      const T* k = head(p.k, p.ks, at, p.H) + begin * p.ks.row;
      const T* v = head(p.v, p.vs, at, p.H) + begin * p.vs.row;
      const auto copy_next = [&](index_t left, unsigned stage) {
        const int n = int(min(index_t{F::tile}, left));
        const unsigned to = memory + stage * (2 * F::tile_bytes);
        Tile<T, Depth>::template copy<F::tile>(to, k, p.ks.row, n, int(p.D));
        Tile<T, Depth>::template copy<F::tile>(to + F::tile_bytes, v, p.vs.row, n, int(p.Dv));
        k += F::tile * p.ks.row, v += F::tile * p.vs.row;
      };
      __syncthreads();  // what was there before has been read
      if (begin < end) copy_next(end - begin, 0);

      unsigned stage = 0;
      for (index_t j = begin; j < end; j += F::tile, stage ^= 1) {
        const int n = int(min(index_t{F::tile}, end - j));
        wait_for_copies();
        const int hidden = note_hidden(hidden_keys, stage, mask.keep ? mask.keep + j : nullptr, n);
        if (j + F::tile < end) copy_next(end - j - F::tile, stage ^ 1);  // nobody reads it any more
        if (hidden == n) continue;
        const unsigned keys = memory + stage * (2 * F::tile_bytes), values = keys + F::tile_bytes;
        const int from = loop_warp * share;
        const int until = min(min(n, from + share), in_tile(seen - j, F::tile));
        // Keys before this one are seen by all queries of the warp.
        const int plain = hidden ? 0 : min(in_tile(all_see - j, F::tile), n);
        const auto score = [&](float(&s)[G][step / 8][4], int c) {
#pragma unroll
          for (int x = 0; x < step / 16; ++x)
#pragma unroll
            for (int i = 0; i < slices<T, Depth>; ++i) {
              Slice<T, Depth> b;
              lanes.columns(b, keys, c + 16 * x, i);
#pragma unroll
              for (int m = 0; m < G; ++m) add_scores<T>(s[m][2 * x], s[m][2 * x + 1], q[m][i], b);
            }
        };
        const auto hide = [&](float(&s)[G][step / 8][4], int c) {
          hide_keys(s, mask, first, j, c, hidden ? hidden_keys[stage] : nullptr);
        };
        const auto take = [&]<bool Hide>(int c) {
          float s[G][step / 8][4] = {};
          score(s, c);
          if constexpr (Hide) hide(s, c);
#pragma unroll
          for (int m = 0; m < G; ++m) {
            if constexpr (Follow) state[m].follow(s[m], scale);
            state[m].weigh(s[m], scale);
          }
#pragma unroll
          for (int x = 0; x < step / 16; ++x) {
            Weights<T> w[G];
#pragma unroll
            for (int m = 0; m < G; ++m) {
              w[m] = Weights<T>(s[m][2 * x], s[m][2 * x + 1]);
              w[m].add_to(state[m].l);
            }
#pragma unroll
            for (int i = 0; i < slices<T, Depth>; ++i) {
              Slice<T, Depth> b;
              lanes.terms(b, values, c + 16 * x, i);
#pragma unroll
              for (int m = 0; m < G; ++m) w[m].template add_terms<Depth>(state[m].o, b, i);
            }
          }
        };
        if (!Follow && !measured && from < until) {
          float s[G][step / 8][4] = {};
          score(s, from);
          hide(s, from);
#pragma unroll
          for (int m = 0; m < G; ++m) state[m].measure_from(s[m], scale);
          measured = true;
        }
        int c = from;
        for (; c < until && c + step <= plain; c += step) take.template operator()<false>(c);
        for (; c < until; c += step) take.template operator()<true>(c);
      }
    };
    bool follow = !F::measures;
    if constexpr (F::measures) {
      walk.template operator()<false>();
#pragma unroll
      for (int m = 0; m < G; ++m) follow = follow || (measured && state[m].out_of_range());
      follow = __syncthreads_or(follow);
    }
    if (follow) {
#pragma unroll
      for (int m = 0; m < G; ++m) state[m] = State<Depth>();
      walk.template operator()<true>();
    }
    merge_warps(state, reinterpret_cast<float*>(tensor_memory), own_warp, loop_warp,
                plan.loop_warps);
    if (loop_warp != 0) continue;

    const index_t rows = at * p.Nq, before = split * plan.heads * p.Nq + rows;  // of this head
#pragma unroll
    for (int m = 0; m < G; ++m) {
      float factor[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const index_t i = first + 16 * m + g + 8 * r;
        const float l = state[m].l[2 * r], top = state[m].top[r];
        factor[r] = plan.splits > 1 ? 1.f : l == 0 ? 0.f : 1 / l;
        if (t != 0 || i >= p.Nq) continue;
        if (plan.splits > 1)
          states[before + i] = {top, l};
        else if (p.lse)
          p.lse[rows + i] =
              l == 0 ? -INFINITY : State<Depth>::reference(top) * ln_2<float> + logf(l);
      }
      if (plan.splits > 1)
        store_sums<Depth>(state[m].o, factor, sums + before * p.Dv, p.Dv, first + 16 * m, p.Nq,
                          int(p.Dv), false);
      else
        store_sums<Depth>(state[m].o, factor, head(p.o, p.os, at, p.H), p.os.row, first + 16 * m,
                          p.Nq, int(p.Dv), false);
    }
  }
}

}  // namespace

template <class T>
index_t forward(const SdpaParams<T>& p) {
  index_t splits = 1;
  with_depth<T>(p.D > p.Dv ? p.D : p.Dv, [&]<int Depth>() {
    using F = ForwardTiling<T, Depth>;
    const Plan plan = make_plan(p.B * p.H, p.Nq, p.Nk, 16 * F::groups, F::tile, F::resident,
                                p.Dv + 2, split_rule);
    splits = plan.splits;
    const index_t parts = splits > 1 ? splits * plan.heads * p.Nq : 0;
    const Scratch<float> sums(parts * p.Dv + 1);
    const Scratch<Pack<float, 2>> states(parts + 1);
    allow_shared(forward_kernel<T, Depth>, F::shared_bytes, "sdpa, tensor cores");
    forward_kernel<T, Depth><<<grid_of(plan), threads, F::shared_bytes, stream()>>>(
        p, plan, sums.data(), states.data());
    check_launch("sdpa, tensor cores");
    if (splits > 1) merge_states(p, splits, sums.data(), states.data());
  });
  return splits;
}

template index_t forward<float>(const SdpaParams<float>&);
template index_t forward<bf16>(const SdpaParams<bf16>&);

}  // namespace flr::cuda::attention::tensor
