// Damped moving averages along the tokens, and their gradients (ops/damped_ema.hpp).
//
// A task is one sample's block of channels: the recurrence runs over the tokens in order, the
// channels of the block side by side. Backward goes through chunks of tokens from the last to the
// first; the states inside a chunk are made again from the one that it starts with.
#pragma once

#include "flr/cpu/convert.hpp"

FLR_CPU_BEGIN
namespace damped {

inline constexpr index_t lanes = 16, chunk = 64;

/// One task: where its tokens and channels lie, and decays and weights as [order][lanes].
template <class T>
struct Block {
  using C = compute_t<T>;

  Block(const DampedEmaParams<T>& p, index_t task)
      : blocks(ceil_div(p.channels, lanes)),
        sample(task / blocks),
        first(task % blocks * lanes),
        width(smaller(lanes, p.channels - first)),
        order(p.order),
        tokens(p.tokens),
        stride(p.channels),
        reverse(p.reverse),
        decay(p.order * lanes),
        weight(p.order * lanes) {
    for (index_t j = 0; j < order; ++j)
      for (index_t c = 0; c < lanes; ++c) {
        const index_t at = (first + c) * order + j;
        decay[j * lanes + c] = c < width ? p.decay[at] : C(0);
        weight[j * lanes + c] = c < width ? p.weight[at] : C(0);
      }
  }

  /// The channels of the t-th token in the order of the recurrence.
  index_t offset(index_t t) const {
    return (sample * tokens + (reverse ? tokens - 1 - t : t)) * stride + first;
  }
  void load(const T* x, index_t t, C* to) const {
    const T* from = x + offset(t);
    for (index_t c = 0; c < width; ++c) to[c] = static_cast<C>(from[c]);
    for (index_t c = width; c < lanes; ++c) to[c] = 0;
  }
  /// state ← decay · state + x, written to `next`.
  void advance(const C* x, const C* state, C* next) const {
    for (index_t j = 0; j < order; ++j)
      for (index_t c = 0; c < lanes; ++c) {
        const index_t i = j * lanes + c;
        next[i] = decay[i] * state[i] + x[c];
      }
  }

  index_t blocks, sample, first, width, order, tokens, stride;
  bool reverse;
  flr::detail::Scratch<C> decay, weight;
};

template <class C>
inline void zero(C* x, index_t n) {
  for (index_t i = 0; i < n; ++i) x[i] = 0;
}

/// One sample's block of dx, and its terms of the other two gradients, [order][lanes] each.
template <class T>
void backward_block(const DampedEmaBackwardParams<T>& p, const Block<T>& block,
                    compute_t<T>* ddecay, compute_t<T>* dweight) {
  using C = compute_t<T>;
  const index_t size = block.order * lanes, chunks = ceil_div(block.tokens, chunk);
  flr::detail::Scratch<C> starts(chunks * size), states((chunk + 1) * size), rest(3 * size);
  C *g = rest.data(), *chunk_decay = g + size, *chunk_weight = chunk_decay + size;
  C x[lanes], dy[lanes], dx[lanes];

  zero(states.data(), size);
  for (index_t t = 0; t < block.tokens; ++t) {
    if (t % chunk == 0)
      for (index_t i = 0; i < size; ++i) starts[t / chunk * size + i] = states[i];
    block.load(p.f.x, t, x);
    block.advance(x, states.data(), states.data());
  }
  zero(g, size), zero(ddecay, size), zero(dweight, size);
  for (index_t k = chunks; k-- > 0;) {
    const index_t begin = k * chunk, n = smaller(chunk, block.tokens - begin);
    for (index_t i = 0; i < size; ++i) states[i] = starts[k * size + i];
    for (index_t t = 0; t < n; ++t) {
      block.load(p.f.x, begin + t, x);
      block.advance(x, states.data() + t * size, states.data() + (t + 1) * size);
    }
    zero(chunk_decay, size), zero(chunk_weight, size);
    for (index_t t = n; t-- > 0;) {
      const C *before = states.data() + t * size, *after = before + size;
      block.load(p.dy, begin + t, dy);
      zero(dx, lanes);
      for (index_t j = 0; j < block.order; ++j)
        for (index_t c = 0; c < lanes; ++c) {
          const index_t i = j * lanes + c;
          g[i] = block.weight[i] * dy[c] + block.decay[i] * g[i];
          dx[c] += g[i];
          chunk_decay[i] += g[i] * before[i];
          chunk_weight[i] += dy[c] * after[i];
        }
      if (p.dx_mode != GradMode::ignore)
        store_run(dx, p.dx + block.offset(begin + t), block.width,
                  p.dx_mode == GradMode::accumulate);
    }
    for (index_t i = 0; i < size; ++i) ddecay[i] += chunk_decay[i], dweight[i] += chunk_weight[i];
  }
}

}  // namespace damped

template <class T>
void damped_ema(const DampedEmaParams<T>& p) {
  using C = compute_t<T>;
  parallel_for(p.batch * ceil_div(p.channels, damped::lanes), [&](index_t task) {
    const damped::Block<T> block(p, task);
    flr::detail::Scratch<C> state(p.order * damped::lanes);
    damped::zero(state.data(), p.order * damped::lanes);
    C x[damped::lanes], y[damped::lanes];
    for (index_t t = 0; t < p.tokens; ++t) {
      block.load(p.x, t, x);
      block.advance(x, state.data(), state.data());
      damped::zero(y, damped::lanes);
      for (index_t j = 0; j < p.order; ++j)
        for (index_t c = 0; c < damped::lanes; ++c)
          y[c] += block.weight[j * damped::lanes + c] * state[j * damped::lanes + c];
      store_run(y, p.y + block.offset(t), block.width, false);
    }
  });
}

template <class T>
void damped_ema_backward(const DampedEmaBackwardParams<T>& p) {
  using C = compute_t<T>;
  using damped::lanes;
  const DampedEmaParams<T>& f = p.f;
  const index_t blocks = ceil_div(f.channels, lanes), size = f.order * lanes;
  const flr::detail::Scratch<C> terms(f.batch * blocks * 2 * size);
  parallel_for(f.batch * blocks, [&](index_t task) {
    const damped::Block<T> block(f, task);
    C* own = terms.data() + task * 2 * size;
    damped::backward_block(p, block, own, own + size);
  });
  // Samples are added in order: bits do not depend on threads.
  const auto collect = [&](C* gradient, GradMode mode, index_t which) {
    if (mode == GradMode::ignore) return;
    for (index_t c = 0; c < f.channels; ++c)
      for (index_t j = 0; j < f.order; ++j) {
        C sum = 0;
        for (index_t b = 0; b < f.batch; ++b)
          sum += terms[((b * blocks + c / lanes) * 2 + which) * size + j * lanes + c % lanes];
        C& g = gradient[c * f.order + j];
        g = mode == GradMode::accumulate ? g + sum : sum;
      }
  };
  collect(p.ddecay, p.ddecay_mode, 0);
  collect(p.dweight, p.dweight_mode, 1);
}

FLR_CPU_END
