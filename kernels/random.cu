// Philox4x32-10 draws and dropout, word for word those of the CPU: element i is a function of
// (seed, step, call, i) alone (core/philox.hpp).
//   float, bf16: word i mod 4 of block ⌊i/4⌋;  double: words 2(i mod 2) and 2(i mod 2) + 1 of
//   ⌊i/2⌋; normals in pairs (2j, 2j + 1), by Box and Muller; dropout, every type: element i goes
//   when word i mod 4 of block ⌊i/4⌋ is below p · 2³².
// One thread makes the blocks of one 16-byte store. A block is about 100 integer instructions,
// which float hides behind its memory traffic; bf16, with 8 bytes a block, is bound by them.
#include "common/elementwise.cuh"
#include "flr/core/philox.hpp"
#include "runtime.hpp"
#include "table.hpp"

namespace flr::cuda {

namespace {

constexpr int threads = 256;

unsigned blocks_for(index_t items) {
  const index_t blocks = ceil_div(items, threads);
  return static_cast<unsigned>(blocks < 0x7fffffff ? blocks : 0x7fffffff);
}

/// A stream of words. In a captured step the number of the step is read where the graph finds it.
struct Words {
  std::uint64_t seed, step, call;
  const std::uint64_t* captured;

  template <int Blocks>
  __device__ void draw(index_t first, std::uint32_t (&word)[4 * Blocks]) const {
    const std::uint64_t now = captured ? *captured : step;
#pragma unroll
    for (int b = 0; b < Blocks; ++b) {
      const auto block = stream_block(seed, now, call, static_cast<std::uint64_t>(first + b));
#pragma unroll
      for (int w = 0; w < 4; ++w) word[4 * b + w] = block[w];
    }
  }
};

__device__ void draw_uniform(const std::uint32_t* word, float& u) {
  u = uniform_float(word[0]);
}
__device__ void draw_uniform(const std::uint32_t* word, double& u) {
  u = uniform_double(word[0], word[1]);
}

__device__ void normal_pair_of(float& u, float& v) {
  float sine, cosine;
  const float radius = sqrtf(-2.f * logf(1.f - u));  // 1 − u is exact and never 0
  sincospif(2.f * v, &sine, &cosine);
  u = radius * cosine, v = radius * sine;
}
__device__ void normal_pair_of(double& u, double& v) {
  double sine, cosine;
  const double radius = sqrt(-2. * log(1. - u));
  sincospi(2. * v, &sine, &cosine);
  u = radius * cosine, v = radius * sine;
}

template <class T, Distribution Kind>
__global__ void __launch_bounds__(threads)
    random_kernel(T* x, index_t n, bool packed, Words words) {
  using C = compute_t<T>;
  constexpr int N = pack_width<T>, per_draw = sizeof(C) / 4, blocks = N * per_draw / 4;
  const index_t groups = (n + N - 1) / N, step = index_t{gridDim.x} * threads;
  for (index_t g = index_t{blockIdx.x} * threads + threadIdx.x; g < groups; g += step) {
    std::uint32_t word[4 * blocks];
    words.draw<blocks>(g * blocks, word);
    C u[N];
#pragma unroll
    for (int j = 0; j < N; ++j) draw_uniform(word + j * per_draw, u[j]);
    if constexpr (Kind == Distribution::normal) {
#pragma unroll
      for (int j = 0; j < N; j += 2) normal_pair_of(u[j], u[j + 1]);
    }
    Pack<T, N> out;
#pragma unroll
    for (int j = 0; j < N; ++j) out.v[j] = from_compute<T>(u[j]);
    if (packed && (g + 1) * N <= n) {
      store_pack<N>(x + g * N, out);
    } else {
#pragma unroll
      for (int j = 0; j < N; ++j)
        if (g * N + j < n) x[g * N + j] = out.v[j];
    }
  }
}

/// Elements that a thread of dropout takes: whole Philox blocks, 16 bytes or more.
template <class T>
constexpr int dropout_width = pack_width<T> < 4 ? 4 : pack_width<T>;

template <class T>
__global__ void __launch_bounds__(threads)
    dropout_kernel(const T* x, T* y, index_t n, std::uint32_t threshold, compute_t<T> scale,
                   bool accumulate, bool packed, Words words) {
  using C = compute_t<T>;
  constexpr int N = dropout_width<T>;
  const index_t groups = (n + N - 1) / N, step = index_t{gridDim.x} * threads;
  for (index_t g = index_t{blockIdx.x} * threads + threadIdx.x; g < groups; g += step) {
    const index_t first = g * N;
    const bool whole = packed && first + N <= n;
    Pack<T, N> in = {}, out = {};
    if (whole) {
      in = load_pack<N>(x + first);
      if (accumulate) out = load_pack<N>(y + first);
    } else {
#pragma unroll
      for (int j = 0; j < N; ++j)
        if (first + j < n) {
          in.v[j] = x[first + j];
          if (accumulate) out.v[j] = y[first + j];
        }
    }
    std::uint32_t word[N];
    words.draw<N / 4>(g * (N / 4), word);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const C kept = word[j] < threshold ? C(0) : scale * to_compute(in.v[j]);
      out.v[j] = from_compute<T>(accumulate ? to_compute(out.v[j]) + kept : kept);
    }
    if (whole) {
      store_pack<N>(y + first, out);
    } else {
#pragma unroll
      for (int j = 0; j < N; ++j)
        if (first + j < n) y[first + j] = out.v[j];
    }
  }
}

}  // namespace

template <class T>
void random(const RandomParams<T>& p) {
  if (p.n <= 0) return;
  constexpr int N = pack_width<T>;
  const Words words{p.seed, p.step, p.call, captured_random_step()};
  const unsigned blocks = blocks_for(ceil_div(p.n, N));
  const bool packed = packs_fit<N>(p.x);
  if (p.kind == Distribution::normal)
    random_kernel<T, Distribution::normal>
        <<<blocks, threads, 0, stream()>>>(p.x, p.n, packed, words);
  else
    random_kernel<T, Distribution::uniform>
        <<<blocks, threads, 0, stream()>>>(p.x, p.n, packed, words);
  check_launch("random");
}

template <class T>
void dropout(const DropoutParams<T>& p) {
  if (p.n <= 0) return;
  constexpr int N = dropout_width<T>;
  const Words words{p.seed, p.step, p.call, captured_random_step()};
  dropout_kernel<T><<<blocks_for(ceil_div(p.n, N)), threads, 0, stream()>>>(
      p.x, p.y, p.n, static_cast<std::uint32_t>(p.p * 4294967296.0),
      static_cast<compute_t<T>>(1 / (1 - p.p)), p.accumulate, packs_fit<N>(p.x, p.y), words);
  check_launch("dropout");
}

template void random(const RandomParams<float>&);
template void random(const RandomParams<double>&);
template void random(const RandomParams<bf16>&);
template void dropout(const DropoutParams<float>&);
template void dropout(const DropoutParams<double>&);
template void dropout(const DropoutParams<bf16>&);

}  // namespace flr::cuda
