// Scaled dot-product attention, forward.
#pragma once

#include "flr/cpu/attention_forward_block.hpp"

FLR_CPU_BEGIN
namespace attention {

/// How a call is cut: blocks of queries, and chunks of keys where the queries alone are too few to
/// occupy a machine (FLARE's gather: few latents, many tokens). A function of the problem only, so
/// that the results are, too.
struct ForwardPlan {
  static constexpr index_t queries = 128, least_keys = 512;
  index_t blocks, chunks, keys;  ///< blocks of queries, chunks of keys, keys in a chunk

  template <class T>
  explicit ForwardPlan(const SdpaParams<T>& p) {
    blocks = ceil_div(p.Nq, queries);
    const index_t wanted = ceil_div(enough_tasks, std::max<index_t>(1, p.B * p.H * blocks));
    keys = std::max(least_keys, round_up(ceil_div(p.Nk, wanted), 64));
    chunks = std::max<index_t>(1, ceil_div(p.Nk, keys));
  }
};

/// A block of queries of one head.
struct ForwardUnit {
  index_t b, h, i, n, lanes;
  template <class T>
  ForwardUnit(const SdpaParams<T>& p, const ForwardPlan& plan, index_t index) {
    b = index / plan.blocks / p.H;
    h = index / plan.blocks % p.H;
    i = index % plan.blocks * ForwardPlan::queries;
    n = std::min(ForwardPlan::queries, p.Nq - i);
    lanes = round_up(n, simd::lanes<T>);
  }
};

}  // namespace attention

/// Scaled dot-product attention; see SdpaParams. Working memory: blocks of a few hundred kilobytes,
/// and about 64 partial results of a block of queries where the keys are cut.
template <class T>
void sdpa(const SdpaParams<T>& p) {
  using namespace attention;
  const ForwardPlan plan(p);
  const index_t units = p.B * p.H * plan.blocks;
  const index_t size = ForwardState<T>::size(p.Dv, ForwardPlan::queries);
  if (plan.chunks == 1) {
    parallel_for(units, [&](index_t task) {
      const ForwardUnit u(p, plan, task);
      const detail::Scratch<T> memory(size);
      const ForwardState<T> state(memory.data(), p.Dv, u.lanes);
      ForwardBlock<T>(p, u.b, u.h, u.i, u.n).run(state, 0, p.Nk);
      state.finish(p, u.b, u.h, u.i, u.n);
    });
    return;
  }
  const detail::Scratch<T> partial(units * plan.chunks * size);
  parallel_for(units * plan.chunks, [&](index_t task) {
    const ForwardUnit u(p, plan, task / plan.chunks);
    const index_t j = task % plan.chunks * plan.keys;
    const ForwardState<T> state(partial.data() + task * size, p.Dv, u.lanes);
    ForwardBlock<T>(p, u.b, u.h, u.i, u.n).run(state, j, std::min(p.Nk, j + plan.keys));
  });
  parallel_for(units, [&](index_t task) {
    const ForwardUnit u(p, plan, task);
    T* const memory = partial.data() + task * plan.chunks * size;
    const ForwardState<T> state(memory, p.Dv, u.lanes);
    for (index_t chunk = 1; chunk < plan.chunks; ++chunk)
      state.merge_from(ForwardState<T>(memory + chunk * size, p.Dv, u.lanes));
    state.finish(p, u.b, u.h, u.i, u.n);
  });
}

FLR_CPU_END
