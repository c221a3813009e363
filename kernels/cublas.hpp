// Matrix products by cuBLASLt: handle, owned workspace and plans. Host code.
#pragma once

#include <library_types.h>

#include "common/stream.hpp"

namespace flr::cuda {

template <class T>
inline constexpr cudaDataType_t cuda_type = CUDA_R_32F;
template <>
inline constexpr cudaDataType_t cuda_type<double> = CUDA_R_64F;
template <>
inline constexpr cudaDataType_t cuda_type<bf16> = CUDA_R_16BF;

/// C = alpha · op(A) op(B) + beta · C (+ bias along each row), row-major as GemmParams, over one
/// batch axis. C may be float where A and B are bf16.
struct Product {
  cudaDataType_t type_in = CUDA_R_32F, type_out = CUDA_R_32F;
  index_t m = 0, n = 0, k = 0;
  const void *a = nullptr, *b = nullptr;
  void* c = nullptr;
  index_t lda = 0, ldb = 0, ldc = 0;
  bool trans_a = false, trans_b = false;
  index_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  double alpha = 1, beta = 0;
  const void* bias = nullptr;  ///< n values of C's type, or null; not for double
};

/// Runs the product on stream(), or returns false where cuBLASLt has no algorithm for it. Sizes are
/// 1 or more. The same product takes the same algorithm every time: the first that cuBLASLt names.
bool multiply(const Product& p);

}  // namespace flr::cuda
