// One optimiser step over ranges of an arena, the sum of squares that clipping needs, and the
// moving average of the weights. The formulas are those of cpu/update.hpp.
//
// Bound by memory: AdamW in float moves 28 bytes an element (30 with the bf16 shadow). A block
// takes one chunk of the arena, cut at multiples of the chunk so that packs stay aligned whatever a
// range begins with. Everything that changes from step to step is read from device memory: thread 0
// turns it into the compute type while the block's loads are under way.
#include "common/elementwise.cuh"
#include "table.hpp"

namespace flr::cuda {

namespace {

constexpr int threads = 256;
constexpr int packs_each = 2;     ///< packs of every array that a thread has in flight
constexpr int ranges_most = 128;  ///< ranges in one launch

/// Ranges by value, and the block at which each begins.
struct Ranges {
  index_t begin[ranges_most], end[ranges_most];
  unsigned first[ranges_most];
  int count = 0;
  unsigned blocks = 0;

  /// The last range that begins at or before the block.
  __device__ int find(unsigned block) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first[middle] <= block)
        low = middle;
      else
        high = middle;
    }
    return low;
  }
};

/// The scalars of a step in the compute type; arithmetic between them is done in double.
template <class C>
struct Scalars {
  C lr, beta1, rest1, beta2, rest2, decay, keep, root2, step, eps, undamped, scale;
  bool first, apply;

  template <class T>
  __device__ void set(const UpdateParams<T>& u) {
    const StepScalars s = *u.s;
    double factor = s.grad_scale;
    apply = true;
    if (u.norm_squared) {
      const double squared = *u.norm_squared;
      apply = isfinite(squared);
      const double norm = sqrt(squared) * fabs(s.grad_scale) + 1e-6;
      if (s.clip > 0 && norm > s.clip) factor *= s.clip / norm;
    }
    lr = C(s.lr), beta1 = C(s.beta1), beta2 = C(s.beta2), decay = C(s.weight_decay);
    rest1 = C(1 - s.beta1), rest2 = C(1 - s.beta2);
    keep = C(1 - s.lr * s.weight_decay);
    root2 = C(sqrt(s.correction2));
    step = C(s.lr / s.correction1);
    eps = C(u.eps), undamped = C(1 - u.dampening), scale = C(factor);
    first = s.step == 1;
  }
};

/// −1, 0 or 1; NaN stays, so that a broken gradient is seen.
template <class C>
__device__ C sign_of(C x) {
  return x > C(0) ? C(1) : x < C(0) ? C(-1) : x;
}

template <class C>
__device__ void adam(const Scalars<C>& s, C& p, C g, C& m, C& v) {
  m += s.rest1 * (g - m);
  v = s.beta2 * v + s.rest2 * g * g;
  p -= s.step * (m / (sqrt(v) / s.root2 + s.eps));
}

template <class C>
__device__ void apply_rule(UpdateRule rule, bool momentum, bool nesterov, const Scalars<C>& s, C& p,
                           C g, C& m, C& v) {
  switch (rule) {
    case UpdateRule::adamw:
      p *= s.keep;
      adam(s, p, g, m, v);
      break;
    case UpdateRule::adam_l2: adam(s, p, g + s.decay * p, m, v); break;
    case UpdateRule::lion:
      p = p * s.keep - s.lr * sign_of(s.beta1 * m + s.rest1 * g);
      m = s.beta2 * m + s.rest2 * g;
      break;
    case UpdateRule::lion_legacy:  // one momentum, which also takes the decay
      m = s.beta1 * m + s.rest1 * (g + s.decay * p);
      p -= s.lr * sign_of(m);
      break;
    case UpdateRule::sgd: {
      const C d = g + s.decay * p;
      if (!momentum) {
        p -= s.lr * d;
        break;
      }
      m = s.first ? d : s.beta1 * m + s.undamped * d;
      p -= s.lr * (nesterov ? d + s.beta1 * m : m);
      break;
    }
  }
}

/// Elements i … i + N − 1 of x; those outside [begin, end) are left 0 or untouched.
template <int N, class T>
__device__ void read(const T* x, index_t i, index_t begin, index_t end, Pack<T, N>& pack) {
  if (i >= begin && i + N <= end) {
    pack = load_pack<N>(x + i);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) pack.v[j] = i + j >= begin && i + j < end ? x[i + j] : T();
  }
}
template <int N, class T>
__device__ void write(T* x, index_t i, index_t begin, index_t end, const Pack<T, N>& pack) {
  if (i >= begin && i + N <= end) {
    store_pack<N>(x + i, pack);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j)
      if (i + j >= begin && i + j < end) x[i + j] = pack.v[j];
  }
}

template <class T, int N>
__global__ void __launch_bounds__(threads) update_kernel(const __grid_constant__ UpdateParams<T> u,
                                                         const __grid_constant__ Ranges ranges) {
  using C = compute_t<T>;
  constexpr index_t chunk = index_t{threads} * packs_each * N;
  __shared__ Scalars<C> scalars;
  const int r = ranges.find(blockIdx.x);
  const index_t begin = ranges.begin[r], end = ranges.end[r];
  const index_t at = (begin / chunk + (blockIdx.x - ranges.first[r])) * chunk + threadIdx.x * N;

  Pack<T, N> p[packs_each], g[packs_each], m[packs_each] = {}, v[packs_each] = {};
#pragma unroll
  for (int k = 0; k < packs_each; ++k) {
    const index_t i = at + k * threads * N;
    read(u.p, i, begin, end, p[k]);
    read(u.g, i, begin, end, g[k]);
    if (u.m) read(u.m, i, begin, end, m[k]);
    if (u.v) read(u.v, i, begin, end, v[k]);
  }
  if (threadIdx.x == 0) scalars.set(u);
  __syncthreads();
  const Scalars<C> s = scalars;
  if (!s.apply) return;
#pragma unroll
  for (int k = 0; k < packs_each; ++k) {
    const index_t i = at + k * threads * N;
    Pack<bf16, N> shadow;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      C pj = to_compute(p[k].v[j]), mj = to_compute(m[k].v[j]), vj = to_compute(v[k].v[j]);
      apply_rule(u.rule, u.m != nullptr, u.nesterov, s, pj, to_compute(g[k].v[j]) * s.scale, mj,
                 vj);
      p[k].v[j] = from_compute<T>(pj);
      m[k].v[j] = from_compute<T>(mj);
      v[k].v[j] = from_compute<T>(vj);
      shadow.v[j] = from_compute<bf16>(static_cast<float>(to_compute(p[k].v[j])));
    }
    write(u.p, i, begin, end, p[k]);
    if (u.m) write(u.m, i, begin, end, m[k]);
    if (u.v) write(u.v, i, begin, end, v[k]);
    if (u.shadow) write(u.shadow, i, begin, end, shadow);
  }
}

template <class T, int N>
void update_packs(const UpdateParams<T>& p) {
  constexpr index_t chunk = index_t{threads} * packs_each * N;
  Ranges batch;
  const auto flush = [&] {
    batch.blocks = 0;
    for (int r = 0; r < batch.count; ++r) {
      batch.first[r] = batch.blocks;
      batch.blocks += static_cast<unsigned>(ceil_div(batch.end[r], chunk) - batch.begin[r] / chunk);
    }
    if (batch.blocks > 0) {
      update_kernel<T, N><<<batch.blocks, threads, 0, stream()>>>(p, batch);
      check_launch("update");
    }
    batch.count = 0;
  };
  for (int r = 0; r < p.range_count; ++r) {
    const ArenaRange range = p.ranges[r];
    if (range.begin >= range.end) continue;
    if (batch.count > 0 && batch.end[batch.count - 1] == range.begin) {
      batch.end[batch.count - 1] = range.end;
      continue;
    }
    if (batch.count == ranges_most) flush();
    batch.begin[batch.count] = range.begin;
    batch.end[batch.count++] = range.end;
  }
  flush();
}

/// Elements whose squares one block adds, at least, and the most blocks.
constexpr index_t square_piece = 8192;
constexpr index_t square_pieces = 2048;

/// part[b] = Σ g² over every gridDim-th pack from b on. The elements of a thread, and so the bits,
/// do not depend on whether g is aligned.
template <class T>
__global__ void __launch_bounds__(threads)
    squares_kernel(const T* g, index_t n, bool aligned, double* part) {
  constexpr int N = pack_width<T>, unroll = 4;
  __shared__ double shared[threads / 32];
  const index_t packs = (n + N - 1) / N, step = index_t{gridDim.x} * threads * unroll;
  double lane[unroll] = {};
  for (index_t k = index_t{blockIdx.x} * threads * unroll + threadIdx.x; k < packs; k += step) {
    Pack<T, N> x[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const index_t i = (k + u * threads) * N;
      if (aligned)
        read(g, i, 0, n, x[u]);
      else
#pragma unroll
        for (int j = 0; j < N; ++j) x[u].v[j] = i + j < n ? g[i + j] : T();
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u)
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const double v = static_cast<double>(to_compute(x[u].v[j]));
        lane[u] += v * v;
      }
  }
  const double sum = block_sum<threads>((lane[0] + lane[1]) + (lane[2] + lane[3]), shared);
  if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(1024) merge_squares(const double* part, int parts, double* out) {
  __shared__ double shared[1024 / 32];
  double sum = 0;
  for (int i = threadIdx.x; i < parts; i += 1024) sum += part[i];
  sum = block_sum<1024>(sum, shared);
  if (threadIdx.x == 0) *out = sum;
}

template <class T>
struct Ema {
  template <int N>
  struct Packs {
    Pack<T, N> shadow, p;
  };
  T* shadow;
  const T* p;
  compute_t<T> keep, take;

  template <int N>
  __device__ Packs<N> load(index_t i) const {
    return {load_pack<N>(shadow + i), load_pack<N>(p + i)};
  }
  template <int N>
  __device__ void store(index_t i, const Packs<N>& in) const {
    Pack<T, N> out;
#pragma unroll
    for (int j = 0; j < N; ++j)
      out.v[j] = from_compute<T>(keep * to_compute(in.shadow.v[j]) + take * to_compute(in.p.v[j]));
    store_pack<N>(shadow + i, out);
  }
};

}  // namespace

template <class T>
void update(const UpdateParams<T>& p) {
  constexpr int N = pack_width<T>;
  // Null pointers count as aligned.
  if (packs_fit<N>(p.p, p.g, static_cast<const T*>(p.m), static_cast<const T*>(p.v)) &&
      packs_fit<N>(p.shadow))
    update_packs<T, N>(p);
  else
    update_packs<T, 1>(p);
}

template <class T>
void sum_squares(const T* g, index_t n, double* out) {
  const index_t wanted = ceil_div(n, square_piece);
  const int parts = static_cast<int>(wanted < square_pieces ? wanted : square_pieces);
  const Scratch<double> part(parts > 0 ? parts : 1);
  if (parts > 0) {
    squares_kernel<T>
        <<<parts, threads, 0, stream()>>>(g, n, packs_fit<pack_width<T>>(g), part.data());
    check_launch("sum_squares");
  }
  merge_squares<<<1, 1024, 0, stream()>>>(part.data(), parts, out);
  check_launch("sum_squares_merge");
}

template <class T>
void ema(T* shadow, const T* p, index_t n, double decay) {
  using C = compute_t<T>;
  launch_elementwise<pack_width<T>>(
      Ema<T>{shadow, p, static_cast<C>(decay), static_cast<C>(1 - decay)}, n, "ema", shadow, p);
}

template void update(const UpdateParams<float>&);
template void update(const UpdateParams<double>&);
template void update(const UpdateParams<bf16>&);
template void sum_squares(const float*, index_t, double*);
template void sum_squares(const double*, index_t, double*);
template void sum_squares(const bf16*, index_t, double*);
template void ema(float*, const float*, index_t, double);
template void ema(double*, const double*, index_t, double);
template void ema(bf16*, const bf16*, index_t, double);

}  // namespace flr::cuda
