// Gradients of what tokens read, c = a (tril(g vᵀ) b + g Zᵀ), forward in time, and what the segment
// by itself leaves to the tokens before it: Σ p 2^(L₀ − L) g and Σ c 2^(L₀ − L), L₀ before it.
#include "causal_flare/ranges.cuh"

namespace flr::cuda::latents {
namespace {

/// Gradients of a range from their tile to memory, with their sums over the latents.
template <class T, int M>
__device__ void save_range(const Walks<T>& walks, const T* c, const Range& range, const Place& at,
                           index_t first, int latents) {
  const int to = at.end - first < range.to ? int(at.end - first) : range.to;
  const int t = int(threadIdx.x) / 2, half = int(threadIdx.x) % 2;
  float sum = 0;
  for (int m = half; m < latents; m += 2) sum += to_compute(c[t * pitch<T>(M) + m]);
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  if (half == 0 && t >= range.from && t < to) walks.delta[at.row + first + t] = sum;
  constexpr int width = 16 / int(sizeof(T)), per_row = M / width;
  using Whole = Pack<T, width>;
  for (int i = range.from * per_row + int(threadIdx.x); i < to * per_row; i += threads) {
    const int row = i / per_row, column = i % per_row * width;
    *reinterpret_cast<Whole*>(walks.c + (at.row + first + row) * M + column) =
        *reinterpret_cast<const Whole*>(c + row * pitch<T>(M) + column);
  }
}

template <class T, int M, int W>
__global__ void __launch_bounds__(threads, blocks_at_once(M, W))
    backward_read_kernel(Problem<T> p, States states, Walks<T> walks) {
  extern __shared__ uint4 memory[];
  __shared__ Marks<M> marks;
  __shared__ float outset[M];  ///< L before the segment
  __shared__ float share[M];   ///< 2^(L there − L of the range)
  const Memory<T, M, W> in(memory);
  const Place at(p);
  const Part<M> part;
  constexpr int some = 32;  // latents of a product at a time, for the registers' sake
  Sums<T, W, M> z;
  Sums<T, W, some> r[M / some];
  float of_lse = 0;  ///< this thread's part of Σ c 2^(L₀ − L)
  begin_segment<T, M, W>(marks, z, states, at, p.segments);
  load_latents<W, M>(in.q, p, at);
  __syncthreads();
  for (int m = threadIdx.x; m < M; m += threads) outset[m] = marks.start[m];
  for (index_t first = at.first; first < at.end; first += tile) {
    __syncthreads();  // the last tile is used up
    load_tokens<W>(in.k, p.k, at, first, p.E, p.k_packed);
    load_tokens<W>(in.v, p.v, at, first, p.D, p.v_packed);
    load_tokens<W>(in.g, p.dy, at, first, p.D, p.dy_packed);
    mark_kept(marks, p, at, first);
    const index_t place = at.row / p.N * p.tiles() + first / tile;
    for (int m = threadIdx.x; m < M; m += threads) walks.tile_lse[place * M + m] = marks.start[m];
    __syncthreads();
    make_scores(in, p.log2_scale);
    __syncthreads();
    sum_over_latents(marks, in.s, p.M);

    for (int from = 0; from < tile;) {
      const Range range = fit_range(marks, in.s, from, p.M);
      make_features<true>(marks, in, range, p.M);
      if (part.group == 0) share[part.m] = exp2_fast(outset[part.m] - range.ref);
      __syncthreads();
      decay_state<T, M, W>(z, marks);
      to_tile<M>(in.state, z);
      Sums<T, tile, tile> products;
      products.template add<W>(along(in.g, W), along(in.v, W));
      to_lower_triangle(in.square, products);
      z.template add<tile>(across(in.v, W), across(in.b, M));
#pragma unroll
      for (int m0 = 0; m0 < M; m0 += some) {
        Sums<T, W, some> own;
        own.template add<tile>(across(in.g, W), across(in.a + m0, M));
        own.each([&](int, int m, float& x) { x *= share[m0 + m]; });
        r[m0 / some].add_sums(own);
      }
      __syncthreads();
#pragma unroll 1
      for (int m0 = 0; m0 < M; m0 += some) {
        Sums<T, tile, some> c;
        c.template add<W>(along(in.g, W), across(in.state + m0, M));
        c.template add<tile>(along(in.square, tile), across(in.b + m0, M));
        c.each([&](int t, int m, float& x) {
          T& a = in.a[t * pitch<T>(M) + m0 + m];
          a = from_compute<T>(to_compute(a) * x);
        });
      }
      __syncthreads();
      save_range<T, M>(walks, in.a, range, at, first, p.M);
      float sum = 0;
      for (int i = 0; i < part.length; ++i) {
        const int t = part.first + i;
        if (part.m < p.M && t >= range.from && t < range.to)
          sum += divide_fast(to_compute(in.a[t * pitch<T>(M) + part.m]),
                             in.s[t * row_of_scores(M) + part.m]);
      }
      of_lse += sum * share[part.m];
      from = range.to;
    }
  }
  if (!walks.beyond) return;
  float* to = walks.beyond + at.item * ((W + 1) * M);
#pragma unroll
  for (int m0 = 0; m0 < M; m0 += some)
    r[m0 / some].each([&](int d, int m, float& x) { to[d * M + m0 + m] = x; });
  __syncthreads();
  marks.sum[threadIdx.x] = of_lse;
  __syncthreads();
  if (part.group > 0) return;
  for (int g = 1; g < part.groups; ++g) of_lse += marks.sum[g * M + part.m];
  to[W * M + part.m] = of_lse;
}

}  // namespace

template <class T, int M, int W>
void backward_read(const Problem<T>& p, const States& states, const Walks<T>& walks) {
  constexpr int bytes = Memory<T, M, W>::bytes(Memory<T, M, W>::gradients);
  allow_shared(backward_read_kernel<T, M, W>, bytes, "causal_flare, backward 1");
  backward_read_kernel<T, M, W><<<p.blocks(), threads, bytes, stream()>>>(p, states, walks);
  check_launch("causal_flare, backward 1");
}

#define FLR_BACKWARD_READ(T, M)                                                             \
  template void backward_read<T, M, 16>(const Problem<T>&, const States&, const Walks<T>&); \
  template void backward_read<T, M, 32>(const Problem<T>&, const States&, const Walks<T>&); \
  template void backward_read<T, M, 64>(const Problem<T>&, const States&, const Walks<T>&);
FLR_BACKWARD_READ(float, 32)
FLR_BACKWARD_READ(float, 64)
FLR_BACKWARD_READ(float, 128)
FLR_BACKWARD_READ(bf16, 32)
FLR_BACKWARD_READ(bf16, 64)
FLR_BACKWARD_READ(bf16, 128)

}  // namespace flr::cuda::latents
