// FLARE's two hops as one problem, and four ways to compute it, from the plainest to the library's.
//
//   out[h,i] = Σⱼ P[i,j] value[h,j],   P[i,j] = exp(row[h,i]·column[h,j]) / Σⱼ exp(…)
//
// Both hops are this sum. Encode has few rows and many columns: the rows are M latents, the columns
// N tokens with their keys and values. Decode has many rows and few columns: the rows are N tokens,
// the columns M latents with what encode gave them. So a step of the ladder is one kernel, and what
// differs between the hops is where its parallel work comes from.
//
// bench/cuda_ladder times every step and checks it; read the files in this order:
//   plain.cu         one thread a row, the formula as it is written
//   tiled.cu         columns through shared memory, one pass, columns split over the chip
//   tensor_cores.cu  the same with both products on the tensor cores
//   final.cu         the library's kernels, kernels/flare
#pragma once

#include "flr/core/params.hpp"

namespace flr::cuda::ladder {

/// A [H,n,D] operand; the last axis is contiguous, so tokens may lie as a network has them,
/// [n,H,D].
template <class T>
struct Matrix {
  T* data = nullptr;
  HeadStrides s;
  constexpr T* at(int h, index_t i) const { return data + h * s.head + i * s.row; }
};

struct Hop {
  index_t rows = 0, columns = 0;
  int H = 0, D = 0;  ///< D is 8 or 16
  Matrix<const bf16> row, column, value;
  Matrix<bf16> out;
};

void plain(const Hop&);
void tiled(const Hop&);
void tensor_cores(const Hop&);
void final(const Hop&);

/// Calls f.template operator()<D>().
template <class F>
void with_width(int D, F f) {
  check(D == 8 || D == 16, "[ladder] expected a head dimension of 8 or 16; got {}", D);
  D == 8 ? f.template operator()<8>() : f.template operator()<16>();
}

}  // namespace flr::cuda::ladder
