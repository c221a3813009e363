// Scaled dot-product attention, backward, from the saved log-sum-exp.
//
//   P = e^(S − L), δ_i = dyᵢ·yᵢ, dP = dy vᵀ, dS = P ∘ (dP − δ);
//   dv = Pᵀ dy, dk = dSᵀ (scale·q), dq = scale · dS k.
// A task is one batch, one head and a range of keys against all queries (more keys than queries) or
// a range of queries against all keys. What it has alone it writes; of the other side it writes a
// partial sum, and the partial sums, broadcast batches and heads included, are added in order.
#pragma once

#include "flr/cpu/sdpa_bias.hpp"
#include "flr/cpu/sdpa_split.hpp"

FLR_CPU_BEGIN
namespace sdpa_cpu {

/// One block of queries, packed for backward.
template <class T>
struct QueryPack {
  index_t D, Dv, Dp, Dvp;  ///< widths, and widths padded to the lanes
  detail::Scratch<T> q_tiles, q_rows, dy_tiles, dy_rows, lse, delta;

  QueryPack(index_t rows, index_t D_, index_t Dv_)
      : D(D_), Dv(Dv_), Dp(padded<T>(D_)), Dvp(padded<T>(Dv_)), q_tiles(rows * D), q_rows(rows * Dp),
        dy_tiles(rows * Dv), dy_rows(rows * Dvp), lse(rows), delta(rows) {}

  /// Packs queries [first, first + rows); rows up to a full tile get weight 0, and so do queries
  /// that see no key.
  void load(const SdpaBackwardParams<T>& p, index_t b, index_t h, index_t first, index_t rows) {
    const SdpaParams<T>& f = p.f;
    const index_t full = (rows + tile<T> - 1) / tile<T> * tile<T>;
    const T* q = f.q + b * f.qs.batch + h * f.qs.head;
    const T* dy = p.dout + b * p.dos.batch + h * p.dos.head;
    pack_tiles(q, f.qs.row, first, rows, D, f.scale, q_tiles.data());
    pack_tiles(dy, p.dos.row, first, rows, Dv, T(1), dy_tiles.data());
    pack_rows(q, f.qs.row, first, rows, D, Dp, q_rows.data());
    for (index_t i = 0; i < rows * Dp; ++i) q_rows[i] *= f.scale;
    pack_rows(dy, p.dos.row, first, rows, Dv, Dvp, dy_rows.data());
    for (index_t i = rows * Dp; i < full * Dp; ++i) q_rows[i] = 0;
    for (index_t i = rows * Dvp; i < full * Dvp; ++i) dy_rows[i] = 0;
    const T* y = f.o + b * f.os.batch + h * f.os.head;
    const T* l = f.lse + (b * f.H + h) * f.Nq;
    constexpr T infinity = std::numeric_limits<T>::infinity();
    for (index_t i = 0; i < full; ++i) {
      T sum = 0;
      if (i < rows)
        for (index_t d = 0; d < Dv; ++d)
          sum += y[(first + i) * f.os.row + d] * dy_rows[i * Dvp + d];
      delta[i] = sum;
      lse[i] = i < rows && l[first + i] != -infinity ? l[first + i] : infinity;
    }
  }
};

/// Turns scores and dP of a tile into P and dS in place.
template <class T>
inline void weights_and_slopes(const T* lse, const T* delta, index_t n, T* s, T* dp) {
  using V = simd::Vec<T>;
  constexpr int L = simd::lanes<T>;
  for (int w = 0; w < tile_vectors; ++w) {
    const V l = simd::load(lse + w * L), d = simd::load(delta + w * L);
    for (index_t j = 0; j < n; ++j) {
      T *sj = s + j * tile<T> + w * L, *dj = dp + j * tile<T> + w * L;
      const V weight = simd::exp_nonpositive<T>(simd::load(sj) - l);
      simd::store(sj, weight);
      simd::store(dj, weight * (simd::load(dj) - d));
    }
  }
}

/// Gradients of one task. dq [queries][D] is written row by row; dk [keys][Dp] and dv [keys][Dvp]
/// are added to. Null: not wanted.
template <class T>
void backward_range(const SdpaBackwardParams<T>& p, index_t b, index_t h, index_t q_begin,
                    index_t q_end, index_t k_begin, index_t k_end, T* dq, T* dk, T* dv) {
  const SdpaParams<T>& f = p.f;
  const ScoreRules<T> rules(f, b, h);
  const index_t block = q_end - q_begin < query_block ? q_end - q_begin : query_block;
  const index_t full = (block + tile<T> - 1) / tile<T> * tile<T>;
  QueryPack<T> pack(full, f.D, f.Dv);
  detail::Scratch<T> k(key_block * f.D), v(key_block * f.Dv), s(key_block * tile<T>),
      ds(key_block * tile<T>), dq_tiles(full * f.D);
  const T* k_head = f.k + b * f.ks.batch + h * f.ks.head;
  const T* v_head = f.v + b * f.vs.batch + h * f.vs.head;
  for (index_t first = q_begin; first < q_end; first += query_block) {
    const index_t rows = first + query_block < q_end ? query_block : q_end - first;
    pack.load(p, b, h, first, rows);
    for (index_t i = 0; i < full * f.D; ++i) dq_tiles[i] = 0;
    for (index_t key = k_begin; key < k_end && !rules.beyond(key, first + rows); key += key_block) {
      const index_t n = key + key_block < k_end ? key_block : k_end - key;
      pack_rows(k_head, f.ks.row, key, n, f.D, f.D, k.data());
      pack_rows(v_head, f.vs.row, key, n, f.Dv, f.Dv, v.data());
      for (index_t t = 0; t < rows; t += tile<T>) {
        const index_t left = rows - t < tile<T> ? rows - t : tile<T>;
        if (rules.beyond(key, first + t + left)) continue;
        scores(pack.q_tiles.data() + t * f.D, k.data(), f.D, n, f.D, s.data());
        rules.apply(key, n, first + t, left, s.data());
        scores(pack.dy_tiles.data() + t * f.Dv, v.data(), f.Dv, n, f.Dv, ds.data());
        weights_and_slopes(pack.lse.data() + t, pack.delta.data() + t, n, s.data(), ds.data());
        if (dv)
          outer_sum(s.data(), pack.dy_rows.data() + t * pack.Dvp, pack.Dvp, n,
                    dv + (key - k_begin) * pack.Dvp);
        if (dk)
          outer_sum(ds.data(), pack.q_rows.data() + t * pack.Dp, pack.Dp, n,
                    dk + (key - k_begin) * pack.Dp);
        if (dq)
          weighted_sum(ds.data(), k.data(), f.D, n, f.D, static_cast<const T*>(nullptr),
                       dq_tiles.data() + t * f.D);
      }
    }
    if (dq)
      for (index_t i = 0; i < rows; ++i)
        for (index_t d = 0; d < f.D; ++d)
          dq[(first - q_begin + i) * f.D + d] =
              f.scale * dq_tiles[i / tile<T> * tile<T> * f.D + d * tile<T> + i % tile<T>];
  }
}

/// A gradient on its way from partial sums [B][H][parts or 1][rows][ld] to its strided place.
template <class T>
struct GradientSink {
  T* to;
  HeadStrides s;
  GradMode mode;
  index_t rows, width, ld;

  /// Adds parts `from(b, h, part)` (each `length` rows, row 0 at row `begin`) in order and writes the
  /// rows of every distinct destination once.
  template <class From>
  void write(index_t B, index_t H, index_t parts, From&& from) const {
    if (mode == GradMode::ignore) return;
    const index_t bs = s.batch == 0 ? 1 : B, hs = s.head == 0 ? 1 : H;
    const Split pieces(rows, (rows + 511) / 512, 1);
    parallel_for(bs * hs * pieces.parts, [&](index_t task) {
      const index_t piece = task % pieces.parts, place = task / pieces.parts;
      const index_t b0 = place / hs, h0 = place % hs;
      const index_t b1 = bs == 1 ? B : b0 + 1, h1 = hs == 1 ? H : h0 + 1;
      for (index_t r = pieces.begin(piece); r < pieces.end(piece); ++r) {
        T* row = to + b0 * s.batch + h0 * s.head + r * s.row;
        for (index_t d = 0; d < width; ++d) {
          T sum = 0;
          for (index_t b = b0; b < b1; ++b)
            for (index_t h = h0; h < h1; ++h)
              for (index_t part = 0; part < parts; ++part)
                if (const T* x = from(b, h, part, r)) sum += x[d];
          row[d] = mode == GradMode::accumulate ? row[d] + sum : sum;
        }
      }
    });
  }
};

}  // namespace sdpa_cpu

template <class T>
void sdpa_backward(const SdpaBackwardParams<T>& p) {
  using namespace sdpa_cpu;
  const SdpaParams<T>& f = p.f;
  if (p.dbias_mode != GradMode::ignore) sdpa_bias_gradient(p);
  const bool want_q = p.dq_mode != GradMode::ignore, want_k = p.dk_mode != GradMode::ignore,
             want_v = p.dv_mode != GradMode::ignore;
  const index_t heads = f.B * f.H;
  if (heads == 0 || !(want_q || want_k || want_v)) return;
  const index_t Dp = padded<T>(f.D), Dvp = padded<T>(f.Dv);

  // The longer side is cut: its gradients are whole, the shorter side's are partial sums.
  const bool cut_keys = f.Nk >= f.Nq;
  const index_t wanted = (wanted_tasks + heads - 1) / heads;
  const Split cut(cut_keys ? f.Nk : f.Nq, wanted, cut_keys ? 2 * key_block : query_block);
  const index_t q_parts = cut_keys ? cut.parts : 1, k_parts = cut_keys ? 1 : cut.parts;
  detail::Scratch<T> dq(want_q ? heads * q_parts * f.Nq * f.D : 0),
      dk(want_k ? heads * k_parts * f.Nk * Dp : 0), dv(want_v ? heads * k_parts * f.Nk * Dvp : 0);

  parallel_for(heads * cut.parts, [&](index_t task) {
    const index_t head = task / cut.parts, part = task % cut.parts;
    const index_t begin = cut.begin(part), end = cut.end(part);
    const index_t q0 = cut_keys ? 0 : begin, q1 = cut_keys ? f.Nq : end;
    const index_t k0 = cut_keys ? begin : 0, k1 = cut_keys ? end : f.Nk;
    // Whole gradients of all parts of a head lie together, partial sums one part after the other.
    const index_t q_row = cut_keys ? (head * cut.parts + part) * f.Nq : head * f.Nq + begin;
    const index_t k_row = cut_keys ? head * f.Nk + begin : (head * cut.parts + part) * f.Nk;
    T* my_dq = want_q ? dq.data() + q_row * f.D : nullptr;
    T* my_dk = want_k ? dk.data() + k_row * Dp : nullptr;
    T* my_dv = want_v ? dv.data() + k_row * Dvp : nullptr;
    for (index_t i = 0; my_dk && i < (k1 - k0) * Dp; ++i) my_dk[i] = 0;
    for (index_t i = 0; my_dv && i < (k1 - k0) * Dvp; ++i) my_dv[i] = 0;
    backward_range(p, head / f.H, head % f.H, q0, q1, k0, k1, my_dq, my_dk, my_dv);
  });

  const auto rows_of = [&](const detail::Scratch<T>& x, index_t parts, index_t n, index_t ld) {
    return [&x, parts, n, ld, H = f.H](index_t b, index_t h, index_t part, index_t row) {
      return x.data() + (((b * H + h) * parts + part) * n + row) * ld;
    };
  };
  GradientSink<T>{p.dq, p.dqs, p.dq_mode, f.Nq, f.D, f.D}.write(f.B, f.H, q_parts,
                                                              rows_of(dq, q_parts, f.Nq, f.D));
  GradientSink<T>{p.dk, p.dks, p.dk_mode, f.Nk, f.D, Dp}.write(f.B, f.H, k_parts,
                                                             rows_of(dk, k_parts, f.Nk, Dp));
  GradientSink<T>{p.dv, p.dvs, p.dv_mode, f.Nk, f.Dv, Dvp}.write(f.B, f.H, k_parts,
                                                               rows_of(dv, k_parts, f.Nk, Dvp));
}

FLR_CPU_END
