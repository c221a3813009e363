// Scaled dot-product attention, forward.
//
// A task is one batch, one head, one block of queries and one range of keys. Where blocks of queries
// are too few to share (FLARE's gather: few latents, many tokens), the keys are cut into ranges and
// the partial states merged in order.
#pragma once

#include "flr/cpu/sdpa_split.hpp"
#include "flr/cpu/sdpa_state.hpp"

FLR_CPU_BEGIN
namespace sdpa_cpu {

/// Adds keys [begin, end) to the states of queries [first, first + rows).
template <class T>
void forward_range(const SdpaParams<T>& p, index_t b, index_t h, index_t first, index_t rows,
                   index_t begin, index_t end, T* states) {
  const ScoreRules<T> rules(p, b, h);
  const index_t tiles = (rows + tile<T> - 1) / tile<T>, state_size = TileState<T>::size(p.Dv);
  detail::Scratch<T> q(tiles * tile<T> * p.D), k(key_block * p.D), v(key_block * p.Dv),
      s(key_block * tile<T>);
  pack_tiles(p.q + b * p.qs.batch + h * p.qs.head, p.qs.row, first, rows, p.D, p.scale, q.data());
  for (index_t t = 0; t < tiles; ++t) TileState<T>(states + t * state_size, p.Dv).clear(p.Dv);
  for (index_t key = begin; key < end && !rules.beyond(key, first + rows); key += key_block) {
    const index_t n = key + key_block < end ? key_block : end - key;
    pack_rows(p.k + b * p.ks.batch + h * p.ks.head, p.ks.row, key, n, p.D, p.D, k.data());
    pack_rows(p.v + b * p.vs.batch + h * p.vs.head, p.vs.row, key, n, p.Dv, p.Dv, v.data());
    for (index_t t = 0; t < tiles; ++t) {
      const index_t query = first + t * tile<T>, left = rows - t * tile<T>;
      if (rules.beyond(key, query + tile<T>)) continue;
      scores(q.data() + t * tile<T> * p.D, k.data(), p.D, n, p.D, s.data());
      rules.apply(key, n, query, left < tile<T> ? left : tile<T>, s.data());
      TileState<T>(states + t * state_size, p.Dv).add(s.data(), v.data(), p.Dv, n, p.Dv);
    }
  }
}

template <class T>
void finish_block(const SdpaParams<T>& p, index_t b, index_t h, index_t first, index_t rows,
                  T* states) {
  for (index_t t = 0; t * tile<T> < rows; ++t) {
    const index_t query = first + t * tile<T>, left = rows - t * tile<T>;
    const TileState<T> state(states + t * TileState<T>::size(p.Dv), p.Dv);
    state.finish(left < tile<T> ? left : tile<T>, p.Dv,
                 p.o + b * p.os.batch + h * p.os.head + query * p.os.row, p.os.row,
                 p.lse ? p.lse + (b * p.H + h) * p.Nq + query : nullptr);
  }
}

}  // namespace sdpa_cpu

template <class T>
void sdpa(const SdpaParams<T>& p) {
  using namespace sdpa_cpu;
  const index_t heads = p.B * p.H;
  if (heads == 0 || p.Nq == 0) return;
  // A few dozen queries are worth a task of their own when there are many keys.
  const Split queries(p.Nq, (p.Nq + query_block - 1) / query_block, tile<T>);
  const Split keys(p.Nk, wanted_tasks / (heads * queries.parts), 8 * key_block);
  const index_t blocks = heads * queries.parts;
  const index_t block_size =
      (queries.length + tile<T> - 1) / tile<T> * TileState<T>::size(p.Dv);
  const auto place = [&](index_t block, auto&& use) {
    const index_t head = block / queries.parts, part = block % queries.parts;
    use(head / p.H, head % p.H, queries.begin(part), queries.end(part) - queries.begin(part));
  };
  if (keys.parts == 1) {
    parallel_for(blocks, [&](index_t block) {
      detail::Scratch<T> states(block_size);
      place(block, [&](index_t b, index_t h, index_t first, index_t rows) {
        forward_range(p, b, h, first, rows, index_t{0}, p.Nk, states.data());
        finish_block(p, b, h, first, rows, states.data());
      });
    });
    return;
  }
  detail::Scratch<T> states(blocks * keys.parts * block_size);
  parallel_for(blocks * keys.parts, [&](index_t task) {
    place(task / keys.parts, [&](index_t b, index_t h, index_t first, index_t rows) {
      const index_t part = task % keys.parts;
      forward_range(p, b, h, first, rows, keys.begin(part), keys.end(part),
                    states.data() + task * block_size);
    });
  });
  parallel_for(blocks, [&](index_t block) {
    place(block, [&](index_t b, index_t h, index_t first, index_t rows) {
      T* mine = states.data() + block * keys.parts * block_size;
      const index_t size = TileState<T>::size(p.Dv);
      for (index_t part = 1; part < keys.parts; ++part)
        for (index_t t = 0; t * tile<T> < rows; ++t)
          TileState<T>(mine + t * size, p.Dv)
              .merge(TileState<T>(mine + part * block_size + t * size, p.Dv), p.Dv);
      finish_block(p, b, h, first, rows, mine);
    });
  });
}

FLR_CPU_END
