// A damped moving average cut into chunks of tokens (ops/damped_ema.hpp has the recurrences).
//
// A thread owns one channel of one chunk, with the states of all orders in registers; neighbouring
// threads have neighbouring channels. Three launches:
//   ends    what a chunk leaves behind if it starts from nothing
//   carry   the states that each chunk starts from: chunk after chunk, r^length times what the one
//           before started from plus what it left
//   values  the recurrence again, now from the right state
// Time runs in the order of the recurrence: with `reverse`, step t is token N − 1 − t.
#pragma once

#include "common/device.cuh"

namespace flr::cuda::damped_ema_parts {

inline constexpr int threads = 128;
/// Tokens that a thread fetches before it uses the first of them.
inline constexpr int fetched = 8;

/// What chunks start from, and sums over chunks, are [batch, chunks, order, channels].
template <class T>
struct Problem {
  index_t tokens = 0, channels = 0;
  int order = 0;
  bool reverse = false;
  index_t rows = 0;    ///< batch · chunks
  index_t chunks = 0, length = 0;
  const T* x = nullptr;
  const float *decay = nullptr, *weight = nullptr;
};

/// Chunks enough for eight warps a multiprocessor and scheduler, but of 32 tokens at least; and few
/// enough that going through them one by one costs little.
template <class T>
Problem<T> problem_of(const DampedEmaParams<T>& p) {
  constexpr index_t shortest = 32, most_chunks = 1024;
  const index_t wanted = index_t{multiprocessors()} * 1024;
  index_t length = ceil_div(p.batch * p.tokens * p.channels, wanted);
  const index_t least = ceil_div(p.tokens, most_chunks);
  if (length < least) length = least;
  if (length < shortest) length = shortest;
  length = ceil_div(length, fetched) * fetched;
  Problem<T> problem{p.tokens, p.channels, int(p.order), p.reverse};
  problem.length = length, problem.chunks = ceil_div(p.tokens, length);
  problem.rows = p.batch * problem.chunks;
  problem.x = p.x, problem.decay = p.decay, problem.weight = p.weight;
  return problem;
}

template <class T>
unsigned blocks_for(const Problem<T>& p) {
  return unsigned(ceil_div(p.rows * p.channels, threads));
}

/// A thread's chunk and channel.
template <class T>
struct Place {
  bool exists;
  index_t channel, row, batch, begin, end;

  __device__ explicit Place(const Problem<T>& p) {
    const index_t at = index_t{blockIdx.x} * threads + threadIdx.x;
    exists = at < p.rows * p.channels;
    channel = at % p.channels, row = at / p.channels, batch = row / p.chunks;
    begin = row % p.chunks * p.length;
    end = begin + p.length < p.tokens ? begin + p.length : p.tokens;
  }
  /// Where step t lies in x, y and their gradients.
  __device__ index_t offset(const Problem<T>& p, index_t t) const {
    return (batch * p.tokens + (p.reverse ? p.tokens - 1 - t : t)) * p.channels + channel;
  }
  /// Where order j of this chunk and channel lies.
  __device__ index_t state(const Problem<T>& p, int j) const {
    return (row * p.order + j) * p.channels + channel;
  }
};

/// Decays or weights of a channel; 0 beyond the order, where states then stay 0 or count nothing.
template <int Order, class T>
__device__ void load_rates(float (&to)[Order], const float* from, const Problem<T>& p,
                           index_t channel) {
#pragma unroll
  for (int j = 0; j < Order; ++j) to[j] = j < p.order ? from[channel * p.order + j] : 0.0f;
}

template <int Order, class T>
__device__ void load_states(float (&to)[Order], const float* from, const Problem<T>& p,
                            const Place<T>& at) {
#pragma unroll
  for (int j = 0; j < Order; ++j) to[j] = from && j < p.order ? from[at.state(p, j)] : 0.0f;
}
template <int Order, class T>
__device__ void store_states(float* to, const float (&from)[Order], const Problem<T>& p,
                             const Place<T>& at) {
#pragma unroll
  for (int j = 0; j < Order; ++j)
    if (j < p.order) to[at.state(p, j)] = from[j];
}

/// step(t, x[t], …) for the steps of a chunk in order, first to last or (`Back`) last to first, with
/// the values of each array fetched ahead.
template <bool Back, class T, class Step, class... Arrays>
__device__ void walk(const Problem<T>& p, const Place<T>& at, Step step, const Arrays*... x) {
  const index_t count = at.end - at.begin;
  for (index_t i = 0; i < count; i += fetched) {
    float ahead[sizeof...(Arrays)][fetched];
#pragma unroll
    for (int e = 0; e < fetched; ++e) {
      const bool inside = i + e < count;
      const index_t from = inside ? at.offset(p, Back ? at.end - 1 - i - e : at.begin + i + e) : 0;
      int which = 0;
      ((ahead[which++][e] = inside ? to_compute(x[from]) : 0.0f), ...);
    }
#pragma unroll
    for (int e = 0; e < fetched; ++e) {
      if (i + e >= count) continue;
      const index_t t = Back ? at.end - 1 - i - e : at.begin + i + e;
      if constexpr (sizeof...(Arrays) == 1)
        step(t, ahead[0][e]);
      else
        step(t, ahead[0][e], ahead[1][e]);
    }
  }
}

/// Calls f.template operator()<Order>() for the orders that registers are laid out for.
template <class F>
void with_order(int order, F f) {
  if (order <= 2) return f.template operator()<2>();
  if (order <= 4) return f.template operator()<4>();
  if (order <= 8) return f.template operator()<8>();
  if (order <= 16) return f.template operator()<16>();
  return f.template operator()<32>();
}

/// Turns what chunks leave, [batch, chunks, order, channels], into what they start from. `back`:
/// from the last chunk to the first. `slopes`, where given, are the derivatives of these states by
/// the decays, and become those of what chunks start from.
template <class T>
void carry(const Problem<T>& p, float* states, float* slopes, bool back);

}  // namespace flr::cuda::damped_ema_parts
