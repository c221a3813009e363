// Latents as mixer_scaled.cu keeps them in shared memory.
#pragma once

#include "flare/ring.cuh"

namespace flr::cuda::flare {

/// What shared memory holds of 16 latents: their sums; 8×8 matrices of 128 bytes, from which ldmatrix
/// brings both a fragment and its transpose; L in the order in which a lane needs it; barriers. The
/// matrices are, with those of rows 0 … 7 first, what is subtracted, q, dz' and z' at D = 8, and at
/// D = 16 what is subtracted comes last.
template <int D>
struct ScaledLatents {
  static constexpr int R = regs<D>, matrix = 128, rows = 2 * R * matrix;
  static constexpr int sums = R * 512, q = sums + (R == 1 ? 2 * matrix : 0), dz = q + rows,
                       z = dz + rows, subtracted = R == 1 ? sums : z + rows,
                       whole = sums + 3 * rows + 2 * matrix, bytes = whole + 64 + Ring::bytes;

  unsigned at;

  __device__ static unsigned lane() { return threadIdx.x % 32; }
  /// Where a lane reads, kept in registers: made again for each step they would be waited for.
  struct Lane {
    unsigned straight = lane() * 16,
             swapped = ((lane() & 7u) | (lane() & 8u) << 1 | (lane() & 16u) >> 1) * 16;
    __device__ Lane() { asm volatile("" : "+r"(straight), "+r"(swapped)); }
  };
  __device__ unsigned barriers() const { return at + whole + 64; }
  __device__ void load_sums(Sums<D>& c, const Lane& lane = {}) const {
#pragma unroll
    for (int j = 0; j < R; ++j) {
      const float4 x = load4(at + lane.straight + j * 512);
      c[j][0] = x.x, c[j][1] = x.y, c[j][2] = x.z, c[j][3] = x.w;
    }
  }
  __device__ void save_sums(const Sums<D>& c, const Lane& lane = {}) const {
#pragma unroll
    for (int j = 0; j < R; ++j)
      save4(at + lane.straight + j * 512, {c[j][0], c[j][1], c[j][2], c[j][3]});
  }
  /// `to` is q, dz or z.
  __device__ void save_rows(int to, const Rows<D>& r) const {
#pragma unroll
    for (int j = 0; j < R; ++j) {
      save1(at + to + j * matrix + lane() * 4, r.lo[j]);
      save1(at + to + (R + j) * matrix + lane() * 4, r.hi[j]);
    }
  }
  __device__ void save_subtracted(u32 lo, u32 hi) const {
    save1(at + subtracted + lane() * 4, lo);
    save1(at + subtracted + matrix + lane() * 4, hi);
  }
  /// L of latent i of the 16.
  __device__ void save_whole(int i, float x) const {
    save1(at + whole + (i % 8 / 2 * 4 + i / 8 * 2 + i % 2) * 4, __float_as_uint(x));
  }
  /// L of latents 2t, 2t + 1, 8 + 2t, 9 + 2t.
  __device__ float4 load_whole(const Lane& lane) const {
    return load4(at + whole + (lane.straight & 48u));
  }

  // Four matrices at a time, straight or the third before the second: what a product takes as one
  // operand must arrive in neighbouring registers.

  /// Everything as B of products over channels.
  __device__ void load(Rows<D>& q_, Rows<D>& dz_, Rows<D>& z_, u32 (&subtracted_)[2],
                       const Lane& lane) const {
    u32 x[4];
    if constexpr (R == 1) {
      load_matrices<false>(x, at + lane.straight + subtracted);
      subtracted_[0] = x[0], subtracted_[1] = x[1], q_.lo[0] = x[2], q_.hi[0] = x[3];
      load_matrices<false>(x, at + lane.swapped + dz);
      dz_.lo[0] = x[0], z_.lo[0] = x[1], dz_.hi[0] = x[2], z_.hi[0] = x[3];
    } else {
      load_matrices<false>(x, at + lane.straight + q);
      q_ = {{x[0], x[1]}, {x[2], x[3]}};
      load_matrices<false>(x, at + lane.straight + dz);
      dz_ = {{x[0], x[1]}, {x[2], x[3]}};
      load_matrices<false>(x, at + lane.straight + z);
      z_ = {{x[0], x[1]}, {x[2], x[3]}};
      load_matrices<false>(subtracted_, at + lane.straight + subtracted);
    }
  }
  /// q and dz' as B of sums over latents.
  __device__ void load_transposed(Rows<D>& q_, Rows<D>& dz_, const Lane& lane) const {
    u32 x[4];
    if constexpr (R == 1) {
      load_matrices<true>(x, at + lane.straight + q);
      q_.lo[0] = x[0], q_.hi[0] = x[1], dz_.lo[0] = x[2], dz_.hi[0] = x[3];
    } else {
      load_matrices<true>(x, at + lane.swapped + q);
      q_ = {{x[0], x[2]}, {x[1], x[3]}};
      load_matrices<true>(x, at + lane.swapped + dz);
      dz_ = {{x[0], x[2]}, {x[1], x[3]}};
    }
  }
};

}  // namespace flr::cuda::flare
