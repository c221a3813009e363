// Scaled dot-product attention, backward, from the saved log-sum-exp.
#pragma once

#include "flr/cpu/attention_backward_task.hpp"
#include "flr/cpu/attention_bias.hpp"

FLR_CPU_BEGIN
namespace attention {

/// How a call is cut into tasks: chunks of keys, and chunks of queries where keys are few. Each
/// chunk of keys gives a part of dq and each chunk of queries a part of dk and dv. Where the parts
/// of dq would be large, queries are taken in waves, and the parts collected after each. A function
/// of the problem only.
struct BackwardPlan {
  static constexpr index_t least = 256;                    ///< keys or queries in a chunk
  static constexpr index_t part_bytes = index_t{4} << 20;  ///< parts of dq, about
  index_t keys, key_chunks, queries, query_chunks, wave;

  template <class T>
  explicit BackwardPlan(const SdpaParams<T>& p) {
    const index_t heads = std::max<index_t>(1, p.B * p.H);
    const auto cut = [](index_t n, index_t wanted, index_t unit, index_t& length) {
      length = std::max(round_up(least, unit), round_up(ceil_div(n, wanted), unit));
      return std::max<index_t>(1, ceil_div(n, length));
    };
    key_chunks = cut(p.Nk, ceil_div(enough_tasks, heads), tile_lanes<T>, keys);
    const index_t row_bytes = heads * key_chunks * std::max<index_t>(1, p.D) * sizeof(T);
    wave = std::max<index_t>(1, p.Nq);
    if (key_chunks > 1)
      wave = std::min(wave, round_up(std::max(index_t{512}, part_bytes / row_bytes), tile_rows));
    query_chunks = cut(wave, ceil_div(enough_tasks, heads * key_chunks), tile_rows, queries);
  }
};

/// dy · y for as many rows as a vector has lanes.
template <class T>
Vec<T> row_products(const T* dy, index_t dy_row, const T* y, index_t y_row, index_t rows,
                    index_t depth) {
  alignas(64) T products[lanes<T> * lanes<T>] = {};
  for (index_t r = 0; r < rows; ++r) {
    const T *a = dy + r * dy_row, *b = y + r * y_row;
    Vec<T> sum{};
    index_t d = 0;
    for (; d + lanes<T> <= depth; d += lanes<T>) sum = fma(load(a + d), load(b + d), sum);
    store(products + r * lanes<T>, sum);
    for (; d < depth; ++d) products[r * lanes<T>] += a[d] * b[d];
  }
  return simd::sum_each(products);
}

/// QueryStatistics of a call: lse and delta, [B·H][Nq] each.
template <class T>
void query_statistics(const SdpaBackwardParams<T>& p, T* lse, T* delta) {
  const SdpaParams<T>& f = p.f;
  constexpr index_t grain = 512;
  const index_t chunks = ceil_div(f.Nq, grain);
  parallel_for(f.B * f.H * chunks, [&](index_t task) {
    const index_t unit = task / chunks, b = unit / f.H, h = unit % f.H;
    const T* y = head(static_cast<const T*>(f.o), f.os, b, h);
    const T* dy = head(p.dout, p.dos, b, h);
    const index_t begin = task % chunks * grain, end = std::min(f.Nq, begin + grain);
    for (index_t i = begin; i < end; i += lanes<T>) {
      const index_t n = std::min<index_t>(lanes<T>, end - i), at = unit * f.Nq + i;
      T sums[lanes<T>];
      store(sums, row_products(dy + i * p.dos.row, p.dos.row, y + i * f.os.row, f.os.row, n, f.Dv));
      std::copy_n(sums, n, delta + at);
    }
    for (index_t i = begin; i < end; ++i) {
      const index_t at = unit * f.Nq + i;
      lse[at] = f.lse[at] == -infinity<T> ? T(0) : f.lse[at] * log2_e<T>;
    }
  });
}

}  // namespace attention

/// Gradients of scaled dot-product attention; see SdpaBackwardParams. Needs f.o and f.lse. Working
/// memory: two numbers a query, megabytes of partial sums, and, where keys are shared by batches or
/// heads, the size of dk and dv for each.
template <class T>
void sdpa_backward(const SdpaBackwardParams<T>& p) {
  using namespace attention;
  const SdpaParams<T>& f = p.f;
  const index_t heads = f.B * f.H;
  check(f.lse || heads * f.Nq == 0,
        "[sdpa_backward] expected the log-sum-exp of the forward call; got null");
  const detail::Scratch<T> statistics(2 * heads * f.Nq);
  query_statistics(p, statistics.data(), statistics.data() + heads * f.Nq);
  const QueryStatistics<T> of_queries{statistics.data(), statistics.data() + heads * f.Nq};
  if (p.dbias && p.dbias_mode != GradMode::ignore) bias_gradient(p, of_queries);

  const BackwardPlan plan(f);
  const Gradient<T> dq(f, p.dq, p.dqs, p.dq_mode, plan.wave, f.D, plan.key_chunks);
  const Gradient<T> dk(f, p.dk, p.dks, p.dk_mode, f.Nk, f.D, plan.query_chunks);
  const Gradient<T> dv(f, p.dv, p.dvs, p.dv_mode, f.Nk, f.Dv, plan.query_chunks);
  if (!dq.wanted() && !dk.wanted() && !dv.wanted()) return;
  const index_t at_once = std::min(plan.keys, keys_at_once(f));
  index_t wave = 0;
  do {
    const index_t wave_end = std::min(f.Nq, wave + plan.wave);
    parallel_for(heads * plan.key_chunks * plan.query_chunks, [&](index_t task) {
      const index_t qc = task % plan.query_chunks, kc = task / plan.query_chunks % plan.key_chunks;
      const index_t unit = task / plan.query_chunks / plan.key_chunks;
      const index_t b = unit / f.H, h = unit % f.H;
      const index_t i = std::min(wave_end, wave + qc * plan.queries);
      const index_t i_end = std::min(wave_end, i + plan.queries);
      const index_t first = kc * plan.keys, end = std::min(f.Nk, first + plan.keys);
      BackwardTask<T> work(p, of_queries, at_once);
      index_t j = first;
      do {  // once even without keys or queries: gradients that nothing reaches are zero
        GradientRows<T> q, k, v;
        if (dq.wanted()) q = dq.rows(b, h, kc, wave, i, j > first);
        if (dk.wanted()) k = dk.rows(b, h, qc, 0, j, wave > 0);
        if (dv.wanted()) v = dv.rows(b, h, qc, 0, j, wave > 0);
        work.run(b, h, i, i_end, j, std::min(at_once, end - j), q, k, v);
        j += at_once;
      } while (j < end);
    });
    dq.collect(wave, wave_end - wave);
    wave += plan.wave;
  } while (wave < f.Nq);
  dk.collect(0, f.Nk);
  dv.collect(0, f.Nk);
}

FLR_CPU_END
