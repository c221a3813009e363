// Gradients of tokens from those of their FAVOR+ features: exponents again, their gradients to
// shared memory, and from there as products with the rows to dx. What goes through a head's maximum
// needs a sum over all its tokens: the few tiles that attain it are left to a pass of their own.
#include "favor/exponents.cuh"

namespace flr::cuda::favor {
namespace {

/// dx = factor (Σ_r de_r ω_r − total x̃) of a warp's tokens. Lanes own channels, and share the sum
/// over r where there are fewer channels. All warps come here, also those that have nothing to
/// write.
template <class T, int F>
__device__ void write_gradients(Walk<T, F>& at, index_t g, const float (&total)[tokens_of(F)],
                                const GradOf<T>& dx, bool write) {
  constexpr int tokens = tokens_of(F);
  const Problem<T>& p = at.p;
  T* to = dx.data + at.b * dx.s.batch + at.h * dx.s.head;
  for (int begin = 0; begin < p.D; begin += p.depth) {
    at.need_rows(begin);
    if (!write) continue;
    const int count = p.depth < p.D - begin ? p.depth : p.D - begin;
    const int across = count <= 8 ? 8 : count <= 16 ? 16 : 32, parts = 32 / across;
    for (int k0 = 0; k0 < count; k0 += across) {
      const int own = k0 + at.lane % across, k = own < count ? own : count - 1;
      float sum[tokens] = {};
      for (int r = at.lane / across * 4; r < 32 * F; r += 4 * parts) {
        const Four row = *reinterpret_cast<const Four*>(at.rows + k * Walk<T, F>::pitch + r);
#pragma unroll
        for (int t = 0; t < tokens; ++t) {
          const Four slope = *reinterpret_cast<const Four*>(at.slopes + t * 32 * F + r);
#pragma unroll
          for (int c = 0; c < 4; ++c) sum[t] = fmaf(slope.v[c], row.v[c], sum[t]);
        }
      }
      for (int d = across; d < 32; d *= 2)
#pragma unroll
        for (int t = 0; t < tokens; ++t) sum[t] += __shfl_xor_sync(0xffffffffu, sum[t], d);
#pragma unroll
      for (int t = 0; t < tokens; ++t) {
        const index_t n = at.token(g, t);
        if (n >= p.N || own >= count || at.lane >= across) continue;
        const float value = fmaf(-total[t], at.x[t * p.width + begin + k], sum[t]);
        put(to + n * dx.s.row + begin + k, value * p.factor, dx.mode == GradMode::accumulate);
      }
    }
  }
}

template <class T, int F>
__global__ void __launch_bounds__(threads, 2)
    backward_kernel(Problem<T> p, Slopes what, const float* dy, const float* maximum, Parts parts,
                    const float* share, GradOf<T> dx) {
  constexpr int tokens = tokens_of(F);
  extern __shared__ uint4 memory[];
  Walk<T, F> at(p, memory);
  for (index_t g = at.first_group; g < at.end_group; ++g) {
    if (what == Slopes::attaining) {
      float found = 0;  // in the tiles of all warps: these wait for each other
      for (int w = 0; w < warps; ++w) found += parts.counts[at.head * p.tiles() + g * warps + w];
      if (found == 0) continue;
    }
    float e[tokens][F], total[tokens] = {}, tile_sum = 0, tile_count = 0;
    at.products(g, e);
    if (what != Slopes::queries) at.less_norms(g, e);
#pragma unroll
    for (int t = 0; t < tokens; ++t) {
      const index_t n = at.token(g, t);
      const bool here = what == Slopes::queries ? n < p.N : at.shown(n);
      const float most = what == Slopes::queries ? at.greatest(e[t]) : maximum[at.head];
      const float* from = dy + (at.head * p.N + n) * p.R;
      float slope[F], sum = 0, count = 0;
#pragma unroll
      for (int j = 0; j < F; ++j) {
        const int r = at.lane + 32 * j;
        const bool used = here && r < p.R, attains = used && e[t][j] == most;
        slope[j] = used ? from[r] * (expf(e[t][j] - most) * p.scale) : 0.0f;
        if (what == Slopes::attaining && attains) slope[j] += share[at.head];
        sum += slope[j], count += attains ? 1.0f : 0.0f;
      }
      sum = warp_sum(sum), count = warp_sum(count);
#pragma unroll
      for (int j = 0; j < F; ++j) {
        const int r = at.lane + 32 * j;
        if (what == Slopes::queries && here && r < p.R && e[t][j] == most) slope[j] -= sum / count;
        at.slopes[t * 32 * F + r] = slope[j];
      }
      // A query's own maximum takes away what the norm would add.
      if (what != Slopes::queries) total[t] = sum, tile_sum += sum, tile_count += count;
    }
    if (what == Slopes::keys && at.lane == 0) {
      parts.sums[at.head * p.tiles() + at.tile(g)] = tile_sum;
      parts.counts[at.head * p.tiles() + at.tile(g)] = tile_count;
    }
    __syncwarp();
    const bool mine = what == Slopes::queries || (tile_count > 0) == (what == Slopes::attaining);
    write_gradients(at, g, total, dx, mine);
    __syncwarp();  // tokens and slopes are used up
  }
}

}  // namespace

template <class T>
void backward(const Problem<T>& p, Slopes what, const float* dy, const float* maximum,
              const Parts& parts, const float* share, const GradOf<T>& dx) {
  with_features(p.R, [&]<int F>() {
    const int bytes = shared_bytes(F, p.width, p.depth, true);
    allow_shared(backward_kernel<T, F>, bytes, "favor, gradients");
    backward_kernel<T, F>
        <<<p.blocks(), threads, bytes, stream()>>>(p, what, dy, maximum, parts, share, dx);
    check_launch("favor, gradients");
  });
}

template void backward(const Problem<float>&, Slopes, const float*, const float*, const Parts&,
                       const float*, const GradOf<float>&);
template void backward(const Problem<bf16>&, Slopes, const float*, const float*, const Parts&,
                       const float*, const GradOf<bf16>&);

}  // namespace flr::cuda::favor
