// Step 3: both products on the tensor cores. A warp has 16 rows and takes 16 columns at a time.
//
// mma.sync multiplies small matrices that lie in the registers of a warp's 32 lanes: which lane
// holds which numbers is fixed, see common/mma.cuh and the pictures in kernels/README.md. With g =
// lane / 4 and t = lane % 4, the same three patterns occur everywhere:
//
//   A, 16 rows:    registers hold rows g and g + 8, two neighbouring channels 2t, 2t + 1
//   B, 8 columns:  a register holds column g, its channels 2t and 2t + 1
//   C, 16 × 8:     c0 c1 are row g, columns 2t and 2t + 1; c2 c3 the same of row g + 8
//
// Scores: A = the rows (16 × D), B = eight columns (D × 8). D = 8 is the depth of m16n8k8 and D =
// 16 that of m16n8k16: no padding. Two such tiles make 16 columns. Weights: 2^(s − m) of these
// registers where they are. And as C holds pairs of neighbouring columns just as A wants pairs of
// neighbouring depth, the two tiles, rounded to bf16, *are* the A of the second product, whose
// depth is the 16 columns: nothing moves between lanes. Values: B = the 16 values' channels 8j … 8j
// + 7 (16 × 8), whose pairs are neighbouring columns: two loads of 2 bytes each. The sums stay in C
// layout, as the rows do.
//
// Left to do, all of it in kernels/flare: loads are scattered and nothing is under way while the
// warp computes; a warp reads tokens for 16 latents and one head only; every 16 columns pay for a
// look at the maximum; the weights that are added up are not quite the rounded ones that were
// multiplied.
#include "ladder/parts.cuh"

namespace flr::cuda::ladder {
namespace {

using u32 = std::uint32_t;
constexpr int warps = 4, columns = 16;  ///< of a block; a step

/// Two neighbouring channels of a row.
__device__ u32 pair_at(const bf16* x) {
  return *reinterpret_cast<const u32*>(x);
}
/// One channel of two neighbouring rows.
__device__ u32 pair_of(bf16 low, bf16 high) {
  return low.bits | u32{high.bits} << 16;
}

__device__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/// Rows `first` … `first` + 15 as A: register 2j + half is row g + 8·half, channels 8j + 2t and
/// 8j + 2t + 1. Zeros where there is no row.
template <int D>
__device__ void load_rows(u32 (&a)[D / 4], const Matrix<const bf16>& x, int h, index_t first,
                          index_t count, int g, int t) {
#pragma unroll
  for (int r = 0; r < D / 4; ++r) {
    const index_t i = first + g + 8 * (r % 2);
    a[r] = i < count ? pair_at(x.at(h, i) + r / 2 * 8 + 2 * t) : 0;
  }
}

/// s = rows · columns, one 16 × 8 tile: the depth of the product is D.
__device__ void scores(float (&s)[4], const u32 (&a)[2], const u32 (&b)[1]) {
  mma_k8(s, a, b[0]);
}
__device__ void scores(float (&s)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  mma_k16(s, a, b[0], b[1]);
}

template <int D>
__global__ void __launch_bounds__(warps * 32) tensor_kernel(Hop p, Parts<D> parts) {
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int h = int(blockIdx.y), split = int(blockIdx.z);
  const index_t first = (index_t{blockIdx.x} * warps + warp) * 16;
  if (first >= p.rows) return;  // the whole warp: nobody is waited for in vain

  u32 row[D / 4];
  load_rows<D>(row, p.row, h, first, p.rows, g, t);
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // of rows g and g + 8; sum: this lane's part
  float out[D / 8][4] = {};                            // channels 8j … 8j + 7 of the 16 rows

  const index_t end = first_column(p, split + 1, parts.splits);
  for (index_t j = first_column(p, split, parts.splits); j < end; j += columns) {
    float s[2][4] = {};
#pragma unroll
    for (int x = 0; x < 2; ++x) {  // columns j + 8x … j + 8x + 7
      const index_t column = j + 8 * x + g;
      u32 b[D / 8];
#pragma unroll
      for (int c = 0; c < D / 8; ++c)
        b[c] = column < end ? pair_at(p.column.at(h, column) + 8 * c + 2 * t) : 0;
      scores(s[x], row, b);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        s[x][e] = j + 8 * x + 2 * t + e % 2 < end ? s[x][e] * log2_e : -INFINITY;
    }

    // The running maximum: a row's 16 scores lie in the four lanes of a quad, four in each.
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float mine = fmaxf(fmaxf(s[0][2 * half], s[0][2 * half + 1]),
                               fmaxf(s[1][2 * half], s[1][2 * half + 1]));
      const float raised = fmaxf(top[half], quad_max(mine));
      const float factor = exp2_fast(top[half] - raised);
      top[half] = raised, sum[half] *= factor;
#pragma unroll
      for (int c = 0; c < D / 8; ++c) out[c][2 * half] *= factor, out[c][2 * half + 1] *= factor;
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      float& weight = s[e / 4][e % 4];
      weight = exp2_fast(weight - top[e / 2 % 2]);
      sum[e / 2 % 2] += weight;
    }

    const u32 a[4] = {pack_bf16(s[0][0], s[0][1]), pack_bf16(s[0][2], s[0][3]),
                      pack_bf16(s[1][0], s[1][1]), pack_bf16(s[1][2], s[1][3])};
#pragma unroll
    for (int c = 0; c < D / 8; ++c) {
      const auto value = [&](int n) {
        return j + n < end ? p.value.at(h, j + n)[8 * c + g] : bf16{};
      };
      mma_k16(out[c], a, pair_of(value(2 * t), value(2 * t + 1)),
              pair_of(value(2 * t + 8), value(2 * t + 9)));
    }
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float all = quad_sum(sum[half]);
    const index_t i = first + g + 8 * half;
    if (i >= p.rows) continue;
#pragma unroll
    for (int c = 0; c < D / 8; ++c) {
      const float low = out[c][2 * half], high = out[c][2 * half + 1];
      const int channel = 8 * c + 2 * t;
      if (parts.splits == 1) {
        *reinterpret_cast<u32*>(p.out.at(h, i) + channel) = pack_bf16(low / all, high / all);
      } else {
        float* part = parts.at(p, h, split, i);
        part[channel] = low, part[channel + 1] = high;
        if (channel == 0) part[D] = top[half], part[D + 1] = all;
      }
    }
  }
}

}  // namespace

void tensor_cores(const Hop& p) {
  with_width(p.D, [&]<int D>() {
    const index_t blocks = ceil_div(p.rows, warps * 16);
    const int splits = splits_for(p, blocks * p.H, 32 * columns);
    const Scratch<float> memory(splits == 1 ? 0 : p.H * splits * p.rows * Parts<D>::width);
    const Parts<D> parts{memory, splits};
    const dim3 grid(unsigned(blocks), unsigned(p.H), unsigned(splits));
    tensor_kernel<D><<<grid, warps * 32, 0, stream()>>>(p, parts);
    check_launch("ladder, tensor cores");
    if (splits > 1) merge(p, parts);
  });
}

}  // namespace flr::cuda::ladder
