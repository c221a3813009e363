// Large products, by Eigen on the calling thread, or by an external BLAS where FLR_USE_BLAS is set.
//
// Eigen sees one combination of storage orders only, so that each scalar has one instantiation of
// its product (of Eigen 3.4), shared by every entry of the table.
#pragma once

#include "flr/cpu/dense_pack.hpp"

#ifdef FLR_USE_BLAS
#include <cblas.h>
#else
#ifndef EIGEN_DONT_PARALLELIZE
#define EIGEN_DONT_PARALLELIZE
#endif
#include <Eigen/Core>
#endif

#ifdef FLR_USE_BLAS
// OpenBLAS's own threads would fight with ours; other libraries have no such function.
extern "C" void openblas_set_num_threads(int) __attribute__((weak));
#endif

FLR_CPU_BEGIN
namespace dense {

#ifdef FLR_USE_BLAS

/// C[m,n] += alpha · A[m,k] B[k,n], all row-major. The library decides the order of the sums.
template <class T>
void multiply_large(index_t m, index_t n, index_t k, T alpha, const T* a, index_t lda, const T* b,
                    index_t ldb, T* c, index_t ldc) {
  static const bool serial = [] {
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(serial);
  const auto i = [](index_t x) { return static_cast<int>(x); };
  if constexpr (sizeof(T) == 4)
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, i(m), i(n), i(k), alpha, a, i(lda), b,
                i(ldb), T(1), c, i(ldc));
  else
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, i(m), i(n), i(k), alpha, a, i(lda), b,
                i(ldb), T(1), c, i(ldc));
}

#else

/// C[m,n] += alpha · A[m,k] B[k,n], all row-major.
template <class T>
void multiply_large(index_t m, index_t n, index_t k, T alpha, const T* a, index_t lda, const T* b,
                    index_t ldb, T* c, index_t ldc) {
  // The product itself, below Eigen's expressions: those would also instantiate vector and small
  // products that never run here, for three times the time to compile and twice the code.
  using namespace Eigen::internal;
  constexpr int order = Eigen::RowMajor, unknown = Eigen::Dynamic;
  gemm_blocking_space<order, T, T, unknown, unknown, unknown> blocking(m, n, k, 1, true);
  general_matrix_matrix_product<index_t, T, order, false, T, order, false, order, 1>::run(
      m, n, k, a, lda, b, ldb, c, 1, ldc, alpha, blocking, nullptr);
}

#endif

}  // namespace dense
FLR_CPU_END
