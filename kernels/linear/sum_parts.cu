// The last step of every sum that several blocks share: what they left in memory, added in order. One
// launch serves several results of as many parts, since most are small.
//
// Bound by reading the parts once, most of them from the second-level cache. The parts of a column are
// dealt to 16 threads, each of which has eight packs under way; the 16 sums are added in order. So the
// bits depend on the number of parts only.
#include <cstdint>

#include "common/device.cuh"
#include "linear/parts.hpp"

namespace flr::cuda::dense {
namespace {

constexpr int packs = 16, groups = 16, loads = 8;  ///< packs of columns a block, threads that share one
constexpr int most_sums = 4;
/// Columns from which on packs leave enough blocks; fewer are read one by one, by more threads.
constexpr index_t many_columns = 4096;

template <class C>
struct Sums {
  PartSum<C> sum[most_sums];
  unsigned first[most_sums];  ///< block of each
  bool packed[most_sums];     ///< whether its parts can be read in packs
  int count;
  index_t parts;
};

/// A thread's share of N neighbouring columns, to `shared`.
template <int N, class C>
__device__ void add_share(const Sums<C>& s, const PartSum<C>& sum, index_t first,
                          C (&shared)[groups][packs * pack_width<C>]) {
  const int pack = int(threadIdx.x) % packs, group = int(threadIdx.x) / packs;
  const index_t column = first + pack * N;
  if (column >= sum.n) return;
  const C* from = sum.partials + column;
  C total[N] = {};
  for (index_t part = group; part < s.parts; part += groups * loads) {
    Pack<C, N> in[loads];
#pragma unroll
    for (int u = 0; u < loads; ++u)
      if (part + u * groups < s.parts)
        in[u] = *reinterpret_cast<const Pack<C, N>*>(from + (part + u * groups) * sum.n);
#pragma unroll
    for (int u = 0; u < loads; ++u)
      if (part + u * groups < s.parts)
#pragma unroll
        for (int e = 0; e < N; ++e) total[e] += in[u].v[e];
  }
#pragma unroll
  for (int e = 0; e < N; ++e) shared[group][pack * N + e] = total[e];
}

template <class C>
__global__ void __launch_bounds__(packs* groups) sum_parts_kernel(const __grid_constant__ Sums<C> s) {
  __shared__ C shared[groups][packs * pack_width<C>];
  int at = 0;
  while (at + 1 < s.count && blockIdx.x >= s.first[at + 1]) ++at;
  const PartSum<C>& sum = s.sum[at];
  const int columns = packs * (s.packed[at] ? pack_width<C> : 1), mine = int(threadIdx.x);
  const index_t first = index_t{blockIdx.x - s.first[at]} * columns, column = first + mine;
  if (s.packed[at])
    add_share<pack_width<C>>(s, sum, first, shared);
  else
    add_share<1>(s, sum, first, shared);
  __syncthreads();
  if (mine >= columns || column >= sum.n) return;
  C total = 0;
#pragma unroll
  for (int g = 0; g < groups; ++g) total += shared[g][mine];
  const index_t across = sum.cols;
  put(sum.y + (across > 0 ? column % across * (sum.n / across) + column / across : column), total, sum.accumulate);
}

}  // namespace

template <class C>
void sum_parts(index_t parts, std::initializer_list<PartSum<C>> sums) {
  check(sums.size() <= most_sums, "[sum_parts] {} sums, at most {} a launch", sums.size(), most_sums);
  Sums<C> s{};
  s.parts = parts;
  index_t blocks = 0;
  for (const PartSum<C>& sum : sums) {
    if (!sum.y || sum.n == 0) continue;
    constexpr int N = pack_width<C>;
    const bool packed = sum.n >= many_columns && sum.n % N == 0 &&
                        reinterpret_cast<std::uintptr_t>(sum.partials) % 16 == 0;
    s.sum[s.count] = sum, s.packed[s.count] = packed, s.first[s.count] = unsigned(blocks);
    ++s.count;
    blocks += ceil_div(sum.n, packs * (packed ? N : 1));
  }
  if (blocks == 0) return;
  sum_parts_kernel<C><<<unsigned(blocks), packs * groups, 0, stream()>>>(s);
  check_launch("sum of parts");
}

template void sum_parts(index_t, std::initializer_list<PartSum<float>>);
template void sum_parts(index_t, std::initializer_list<PartSum<double>>);

}  // namespace flr::cuda::dense
