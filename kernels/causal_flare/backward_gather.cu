// Gradients of keys, values and latents, tiles and their ranges from the last to the first:
//   ds = c − p δ + b (tril(g vᵀ)ᵀ a + v Rᵀ − Q),   dk = scale · ds q,   dq = scale · dsᵀ k,
//   dv = tril(a bᵀ)ᵀ g + b R
#include "causal_flare/ranges.cuh"

namespace flr::cuda::latents {
namespace {

/// ds without what comes through R, in the place of the range's scores. `beyond`: Q after the
/// range, relative to its L; becomes that before it, relative to L there.
template <class T, int M, int W>
__device__ void begin_slopes(Marks<M>& marks, const Memory<T, M, W>& in, const Range& range,
                             const T* c, const float* delta, int tokens, int latents,
                             float& beyond) {
  const Part<M> part;
  const auto inside = [&](int t) {
    return part.m < latents && t >= range.from && t < range.to && t < tokens;
  };
  c += part.m;
  float sum = 0;
#pragma unroll 8
  for (int i = part.length - 1; i >= 0; --i) {
    const int t = part.first + i;
    if (inside(t)) sum += divide_fast(to_compute(c[t * M]), in.s[t * row_of_scores(M) + part.m]);
  }
  marks.sum[threadIdx.x] = sum;
  __syncthreads();
  float after = beyond;
#pragma unroll
  for (int g = part.groups - 1; g >= 0; --g) {
    if (g == part.group) after = beyond;
    beyond += marks.sum[g * M + part.m];
  }
  beyond *= marks.decay[part.m];
#pragma unroll 4
  for (int i = part.length - 1; i >= 0; --i) {
    const int t = part.first + i, place = t * pitch<T>(M) + part.m;
    if (!inside(t)) continue;
    float& score = in.s[t * row_of_scores(M) + part.m];
    const float gradient = to_compute(c[t * M]), p = to_compute(in.a[place]) * score;
    after += divide_fast(gradient, score);
    score = gradient - p * delta[t] - to_compute(in.b[place]) * after;
  }
}

template <class T, int M, int W>
__global__ void __launch_bounds__(threads, M == 64 ? 2 : blocks_at_once(M, W))
    backward_gather_kernel(Problem<T> p, Walks<T> walks, float* dq_parts, GradOf<T> dk,
                           GradOf<T> dv) {
  extern __shared__ uint4 memory[];
  __shared__ Marks<M> marks;
  __shared__ int bounds[tile];
  __shared__ float delta[tile];
  const Memory<T, M, W> in(memory);
  const Place at(p);
  const Part<M> part;
  Sums<T, W, M> r, dq;
  float beyond = 0;
  if (walks.beyond) {
    const float* from = walks.beyond + at.item * ((W + 1) * M);
    load_state<T, M, W>(r, from);
    beyond = from[W * M + part.m];
  }
  load_latents<W, M>(in.q, p, at);
  for (index_t i = ceil_div(at.end - at.first, tile); i-- > 0;) {
    const index_t first = at.first + i * tile;
    const int tokens = at.end - first < tile ? int(at.end - first) : tile;
    __syncthreads();  // the last tile is used up
    load_tokens<W>(in.k, p.k, at, first, p.E, p.k_packed);
    load_tokens<W>(in.v, p.v, at, first, p.D, p.v_packed);
    load_tokens<W>(in.g, p.dy, at, first, p.D, p.dy_packed);
    mark_kept(marks, p, at, first);
    for (int t = threadIdx.x; t < tile; t += threads)
      delta[t] = t < tokens ? walks.delta[at.row + first + t] : 0.0f;
    const float* lse = walks.tile_lse + (at.row / p.N * p.tiles() + first / tile) * M + part.m;
    if (part.group == 0) marks.start[part.m] = *lse;
    __syncthreads();
    make_scores(in, p.log2_scale);
    __syncthreads();
    sum_over_latents(marks, in.s, p.M);

    int ranges = 0;
    Range range;
    for (int from = 0; from < tile; from = range.to) {
      range = fit_range(marks, in.s, from, p.M);
      if (threadIdx.x == 0) bounds[ranges] = from;
      ++ranges;
      if (part.group == 0 && range.to < tile) marks.start[part.m] = range.ref;
    }
    for (int last = ranges; last-- > 0;) {
      __syncthreads();  // what the last range has written is there, and what it read used up
      if (last + 1 < ranges) {
        const int from = bounds[last], to = bounds[last + 1];
        if (part.group == 0) marks.start[part.m] = *lse;
        if (from > 0) {
          const float start = make_range(marks, in.s, 0, from, p.M).ref;
          __syncthreads();
          if (part.group == 0) marks.start[part.m] = start;
        }
        range = make_range(marks, in.s, from, to, p.M);
        __syncthreads();  // the start has been read
      }
      make_features<true>(marks, in, range, p.M);
      to_tile<M>(in.state, r);
      Sums<T, tile, tile> products;
      products.template add<W>(along(in.g, W), along(in.v, W));
      to_lower_triangle(in.square, products);
      __syncthreads();
      begin_slopes(marks, in, range, walks.c + (at.row + first) * M, delta, tokens, p.M, beyond);
      __syncthreads();
      constexpr int some = M < 64 ? M : 64;  // latents at a time, for the registers' sake
#pragma unroll 1
      for (int m0 = 0; m0 < M; m0 += some) {
        Sums<T, tile, some> keys;
        keys.template add<tile>(across(in.square, tile), across(in.a + m0, M));
        keys.template add<W>(along(in.v, W), across(in.state + m0, M));
        keys.each([&](int t, int m, float& x) {
          if (t < range.from || t >= range.to) return;
          in.s[t * row_of_scores(M) + m0 + m] += to_compute(in.b[t * pitch<T>(M) + m0 + m]) * x;
        });
      }
      __syncthreads();  // before the square is written again
      if (dv.wanted()) {
        Sums<T, tile, tile> weights;
        weights.template add<M>(along(in.a, M), along(in.b, M));
        to_lower_triangle(in.square, weights);
        __syncthreads();
        Sums<T, tile, W> out;
        out.template add<tile>(across(in.square, tile), across(in.g, W));
        out.template add<M>(along(in.b, M), along(in.state, M));
        T* to = at.of(dv);
        out.each([&](int t, int d, float& x) {
          if (d < p.D && t >= range.from && t < range.to && t < tokens)
            put(to + (first + t) * dv.s.row + d, x, dv.mode == GradMode::accumulate);
        });
      }
      r.template add<tile>(across(in.g, W), across(in.a, M));
      decay_state<T, M, W>(r, marks);
    }
    __syncthreads();
    if (!dk.wanted() && !dq_parts) continue;
    for (int e = 0; e < part.length; ++e) {
      const int t = part.first + e;
      in.a[t * pitch<T>(M) + part.m] = from_compute<T>(in.s[t * row_of_scores(M) + part.m]);
    }
    load_tokens<W>(in.k, p.k, at, first, p.E, p.k_packed);
    __syncthreads();
    if (dk.wanted()) {
      Sums<T, tile, W> out;
      out.template add<M>(along(in.a, M), across(in.q, W));
      T* to = at.of(dk);
      out.each([&](int t, int e, float& x) {
        if (e < p.E && t < tokens)
          put(to + (first + t) * dk.s.row + e, p.scale * x, dk.mode == GradMode::accumulate);
      });
    }
    if (dq_parts) dq.template add<tile>(across(in.k, W), across(in.a, M));
  }
  if (!dq_parts) return;
  float* to = dq_parts + at.item * p.M * p.E;
  dq.each([&](int e, int m, float& x) {
    if (m < p.M && e < p.E) to[m * p.E + e] = x;
  });
}

}  // namespace

template <class T, int M, int W>
void backward_gather(const Problem<T>& p, const Walks<T>& walks, float* dq_parts,
                     const GradOf<T>& dk, const GradOf<T>& dv) {
  constexpr int bytes = Memory<T, M, W>::bytes(Memory<T, M, W>::gradients);
  allow_shared(backward_gather_kernel<T, M, W>, bytes, "causal_flare, backward 2");
  backward_gather_kernel<T, M, W>
      <<<p.blocks(), threads, bytes, stream()>>>(p, walks, dq_parts, dk, dv);
  check_launch("causal_flare, backward 2");
}

template <class T, int M, int W>
int shared_bytes() {
  return Memory<T, M, W>::bytes(Memory<T, M, W>::gradients) + bytes_of_marks;
}

#define FLR_BACKWARD_GATHER(T, M)                                                     \
  template int shared_bytes<T, M, 16>();                                              \
  template int shared_bytes<T, M, 32>();                                              \
  template int shared_bytes<T, M, 64>();                                              \
  template void backward_gather<T, M, 16>(const Problem<T>&, const Walks<T>&, float*, \
                                          const GradOf<T>&, const GradOf<T>&);        \
  template void backward_gather<T, M, 32>(const Problem<T>&, const Walks<T>&, float*, \
                                          const GradOf<T>&, const GradOf<T>&);        \
  template void backward_gather<T, M, 64>(const Problem<T>&, const Walks<T>&, float*, \
                                          const GradOf<T>&, const GradOf<T>&);
FLR_BACKWARD_GATHER(float, 32)
FLR_BACKWARD_GATHER(float, 64)
FLR_BACKWARD_GATHER(float, 128)
FLR_BACKWARD_GATHER(bf16, 32)
FLR_BACKWARD_GATHER(bf16, 64)
FLR_BACKWARD_GATHER(bf16, 128)

}  // namespace flr::cuda::latents
