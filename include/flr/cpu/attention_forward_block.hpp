// One block of queries against a range of keys, forward: online softmax, one lane a query.
#pragma once

#include "flr/cpu/attention_forward_state.hpp"

FLR_CPU_BEGIN
namespace attention {

template <class T>
class ForwardBlock {
  using V = Vec<T>;
  static constexpr int width = lanes<T>;

 public:
  /// Queries [i, i + n) of head (b, h).
  ForwardBlock(const SdpaParams<T>& p, index_t b, index_t h, index_t i, index_t n)
      : p_(p),
        bias_(p, b, h),
        k_(head(p.k, p.ks, b, h)),
        v_(head(p.v, p.vs, b, h)),
        keep_(p.keep ? p.keep + b * p.keep_batch : nullptr),
        first_(i),
        count_(n),
        lanes_(round_up(n, width)),
        // About 16 KiB of keys and values: they and a tile of scores share the first-level cache.
        key_block_(std::clamp<index_t>(16384 / sizeof(T) / (p.D + p.Dv + 1) / 4 * 4, 32, 128)),
        q_(p.D * lanes_),
        rows_(key_block_ * (p.D + p.Dv)),
        tile_(key_block_ * max_group * width) {
    const T* q = head(p.q, p.qs, b, h) + i * p.qs.row;
    std::fill_n(q_.data(), p.D * lanes_, T(0));
    for_groups(lanes_ / width, [&](index_t vector, auto size) {
      const index_t lane = vector * width, stride = size * width;
      simd::transpose(q + lane * p.qs.row, p.qs.row, std::min(stride, n - lane), p.D,
                      q_.data() + lane * p.D, stride, score_scale(p));
    });
  }

  void run(const ForwardState<T>& state, index_t key_begin, index_t key_end) {
    state.clear();
    key_end = std::min(key_end, visible_keys(p_, first_ + count_ - 1));
    for (index_t j = key_begin; j < key_end; j += key_block_) {
      const index_t rows = std::min(key_block_, key_end - j);
      const T* k = pack_rows(k_ + j * p_.ks.row, p_.ks.row, rows, p_.D, rows_.data());
      const T* v =
          pack_rows(v_ + j * p_.vs.row, p_.vs.row, rows, p_.Dv, rows_.data() + key_block_ * p_.D);
      some_hidden_ = keep_ && std::find(keep_ + j, keep_ + j + rows, 0) != keep_ + j + rows;
      for_groups(lanes_ / width, [&](index_t vector, auto size) {
        tile<decltype(size)::value>(state, vector * width, j, rows, k, v);
      });
    }
  }

 private:
  /// Adds keys [j, j + rows) to the states of the P vectors of queries from `lane` on.
  template <int P>
  void tile(const ForwardState<T>& state, index_t lane, index_t j, index_t rows, const T* k,
            const T* v) {
    T* const tile = tile_.data();
    constexpr index_t stride = P * width;
    V top[P];
    for (V& t : top) t = splat(-infinity<T>);
    dots<P>(k, p_.D, rows, q_.data() + lane * p_.D, stride, p_.D,
            [&](index_t r, int i, V score) FLR_LAMBDA_INLINE {
              store(tile + r * stride + i * width, score);
              top[i] = vmax<T>(score, top[i]);
            });
    if (restricted(lane, j, rows)) restrict_tile<P>(lane, j, rows, top);

    SoftmaxState<T> s[P];
    V zero[P], factor[P], total[P] = {};
    bool rescale = false;
    for (int i = 0; i < P; ++i) {
      s[i] = state.get(lane + i * width);
      factor[i] = s[i].raise(top[i]);
      zero[i] = reference<T>(s[i].maximum);
      rescale |= any<T>(factor[i] != T(1));
    }
    T* const o = state.group(lane);
    if (rescale)
      for (index_t d = 0; d < p_.Dv; ++d)
        for (int i = 0; i < P; ++i) {
          T* const x = o + d * stride + i * width;
          store(x, load(x) * factor[i]);
        }
    for (index_t r = 0; r < rows; ++r) {
      FLR_UNROLL
      for (int i = 0; i < P; ++i) {
        T* const x = tile + r * stride + i * width;
        const V weight = exp2_weight<T>(load(x) - zero[i]);
        total[i] += weight;
        store(x, weight);
      }
    }
    for (int i = 0; i < P; ++i) {
      s[i].sum += total[i];
      state.set(lane + i * width, s[i]);
    }
    accumulate<P>(tile, stride, rows, v, p_.Dv, p_.Dv, o, stride);
  }

  bool restricted(index_t lane, index_t j, index_t rows) const {
    return bias_.data || some_hidden_ || j + rows > visible_keys(p_, first_ + lane);
  }

  /// Adds biases and hides what may not be seen, in a tile of raw scores.
  template <int P>
  void restrict_tile(index_t lane, index_t j, index_t rows, V (&top)[P]) {
    const index_t valid = std::min<index_t>(P * width, count_ - lane);
    const V hidden = splat(-infinity<T>);
    T bias[P * width] = {};
    for (V& t : top) t = hidden;
    for (index_t r = 0; r < rows; ++r) {
      if (bias_.data)
        for (index_t l = 0; l < valid; ++l) bias[l] = bias_(first_ + lane + l, j + r);
      // The first lane that sees this key.
      index_t from = p_.causal ? j + r - (p_.Nk - p_.Nq) - first_ - lane : 0;
      if (keep_ && !keep_[j + r]) from = P * width;
      for (int i = 0; i < P; ++i) {
        T* const x = tile_.data() + (r * P + i) * width;
        const V score = fma(load(bias + i * width), splat(log2_e<T>), load(x));
        const V seen = select<T>(iota<T>() + T(i * width) >= T(from), score, hidden);
        store(x, seen);
        top[i] = vmax<T>(seen, top[i]);
      }
    }
  }

  const SdpaParams<T>& p_;
  HeadBias<T> bias_;
  const T *k_, *v_;
  const std::uint8_t* keep_;
  bool some_hidden_ = false;  ///< by the keep mask, in the current keys
  index_t first_, count_, lanes_, key_block_;
  detail::Scratch<T> q_;     ///< by groups, [D][lane], scaled
  detail::Scratch<T> rows_;  ///< packed keys, then values
  detail::Scratch<T> tile_;  ///< [key][lane]
};

}  // namespace attention
FLR_CPU_END
