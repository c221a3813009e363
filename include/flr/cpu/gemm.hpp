// Matrix products: C = alpha · op(A) op(B) + beta · C over two batch axes.
//
// Three ways, chosen by the shape alone: products large in all extents go to Eigen (or BLAS) in
// blocks of C; small outputs with a long sum are cut along k into partial products, added in order;
// all others, the skinny products of attention and dense layers, run on the register tile.
#pragma once

#include <cmath>

#include "flr/cpu/dense_chunks.hpp"
#include "flr/cpu/dense_column.hpp"
#include "flr/cpu/dense_large.hpp"

FLR_CPU_BEGIN

namespace dense {

/// C[m,n] += or = alpha · A B on this thread; element (p, j) of B lies at b[p·row + j·column].
/// Panels are packed as they are needed, into 16 KB on the stack.
template <class T>
void multiply_packing(index_t m, index_t n, index_t k, T alpha, LeftOperand<T> a, const T* b,
                      index_t row, index_t column, T* c, index_t ldc, bool add) {
  constexpr index_t P = panel_columns<T>, stretch = 16384 / (P * sizeof(T));
  if (n == 1 && a.column == 1 && row == 1 && alpha == T(1))
    return multiply_column(m, k, a.data, a.row, b, c, ldc, add);
  alignas(64) T panel[stretch * P];
  for (index_t p = 0; p == 0 || p < k; p += stretch) {
    const index_t depth = k - p < stretch ? k - p : stretch;
    const LeftOperand<T> left{a.data + p * a.column, a.row, a.column};
    for (index_t j = 0; j < n; j += P) {
      const index_t columns = n - j < P ? n - j : P;
      pack_panel(depth, columns, b + p * row + j * column, row, column, panel);
      if (alpha != T(1))
        for (index_t i = 0; i < depth * P; ++i) panel[i] *= alpha;
      multiply(m, columns, depth, left, {panel, P, 0}, c + j, ldc, add || p);
    }
  }
}

/// beta · C in place; beta = 0 writes zeros without reading.
template <class T>
void scale_block(index_t m, index_t n, T beta, T* c, index_t ldc) {
  if (beta == T(1)) return;
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) c[i * ldc + j] = beta == T(0) ? T(0) : beta * c[i * ldc + j];
}

/// dst[rows, cols] = srcᵀ, where src is [cols, rows] with leading dimension ld.
template <class T>
void transpose(index_t rows, index_t cols, const T* src, index_t ld, T* dst) {
  constexpr index_t block = 32;
  parallel_ranges(rows, block, [&](index_t begin, index_t end) {
    for (index_t j0 = 0; j0 < cols; j0 += block)
      for (index_t i = begin; i < end; ++i)
        for (index_t j = j0; j < cols && j < j0 + block; ++j) dst[i * cols + j] = src[j * ld + i];
  });
}

template <class T>
void gemm_large(const GemmParams<T>& p, const T* a, const T* b, T* c) {
  flr::detail::Scratch<T> at(p.trans_a ? p.m * p.k : 0), bt(p.trans_b ? p.k * p.n : 0);
  if (p.trans_a) transpose(p.m, p.k, a, p.lda, at.data());
  if (p.trans_b) transpose(p.k, p.n, b, p.ldb, bt.data());
  const T* left = p.trans_a ? at.data() : a;
  const T* right = p.trans_b ? bt.data() : b;
  const index_t lda = p.trans_a ? p.k : p.lda, ldb = p.trans_b ? p.n : p.ldb;
  const RowChunks rows = cut_rows(p.m, 256), cols = cut_rows(p.n, 256);
  parallel_for(rows.count * cols.count, [&](index_t chunk) {
    const index_t i = rows.begin(chunk / cols.count), j = cols.begin(chunk % cols.count);
    const index_t m = rows.length(chunk / cols.count), n = cols.length(chunk % cols.count);
    T* block = c + i * p.ldc + j;
    scale_block(m, n, p.beta, block, p.ldc);
    multiply_large(m, n, p.k, p.alpha, left + i * lda, lda, right + j, ldb, block, p.ldc);
  });
}

/// Partial products over stretches of k, reduced in order.
template <class T>
void gemm_split(const GemmParams<T>& p, LeftOperand<T> a, const T* b, index_t b_row,
                index_t b_column, T* c) {
  const RowChunks depth = cut_rows(p.k, (p.k + 31) / 32 > 128 ? (p.k + 31) / 32 : 128);
  const index_t size = p.m * p.n;
  flr::detail::Scratch<T> partials(depth.count * size);
  parallel_for(depth.count, [&](index_t chunk) {
    const index_t q = depth.begin(chunk);
    multiply_packing(p.m, p.n, depth.length(chunk), p.alpha,
                     {a.data + q * a.column, a.row, a.column}, b + q * b_row, b_row, b_column,
                     partials.data() + chunk * size, p.n, false);
  });
  const RowChunks rows = cut_rows(p.m, 1 + 16384 / p.n);
  parallel_for(rows.count, [&](index_t chunk) {
    const index_t begin = rows.begin(chunk);
    for (index_t i = begin; i < begin + rows.length(chunk); ++i) {
      T* row = c + i * p.ldc;
      scale_block(1, p.n, p.beta, row, p.ldc);
      for (index_t s = 0; s < depth.count; ++s) {
        const T* part = partials.data() + s * size + i * p.n;
        for (index_t j = 0; j < p.n; ++j) row[j] += part[j];
      }
    }
  });
}

}  // namespace dense

template <class T>
void gemm(const GemmParams<T>& p) {
  check(p.m >= 0 && p.n >= 0 && p.k >= 0 && p.batch[0] >= 0 && p.batch[1] >= 0,
        "[gemm] expected extents of 0 or more; got m {}, n {}, k {}, batch {}×{}", p.m, p.n, p.k,
        p.batch[0], p.batch[1]);
  const index_t batches = p.batch[0] * p.batch[1];
  if (p.m == 0 || p.n == 0 || batches == 0) return;
  const auto offset = [&p](const index_t(&strides)[2], index_t batch) {
    return batch / p.batch[1] * strides[0] + batch % p.batch[1] * strides[1];
  };
  // Below this the register tile wins, above it Eigen's blocking for the caches does.
  constexpr index_t large = 192;
  if (p.m >= large && p.n >= large && p.k >= large) {
    for (index_t i = 0; i < batches; ++i)
      dense::gemm_large(p, p.a + offset(p.batch_a, i), p.b + offset(p.batch_b, i),
                        p.c + offset(p.batch_c, i));
    return;
  }
  const dense::LeftOperand<T> a{p.a, p.trans_a ? 1 : p.lda, p.trans_a ? p.lda : 1};
  const index_t b_row = p.trans_b ? 1 : p.ldb, b_column = p.trans_b ? p.ldb : 1;
  if (batches < 8 && p.k >= 512 && p.m * p.n <= 65536) {
    for (index_t i = 0; i < batches; ++i)
      dense::gemm_split(p, {a.data + offset(p.batch_a, i), a.row, a.column},
                        p.b + offset(p.batch_b, i), b_row, b_column, p.c + offset(p.batch_c, i));
    return;
  }
  // About half a million multiplications a chunk; at least 96 rows pay for packing the panels.
  const index_t width = p.n < 512 ? p.n : 512, depth = p.k > 0 ? p.k : 1;
  const index_t rows_wanted = (index_t{1} << 19) / (width * depth);
  const dense::RowChunks rows = dense::cut_rows(p.m, rows_wanted < 96 ? 96 : rows_wanted);
  const index_t cols = (p.n + 511) / 512, per_batch = rows.count * cols;
  // Tiny batches share a chunk.
  const index_t work = p.m * p.n * depth, group = work < 65536 ? 65536 / work : 1;
  parallel_ranges(batches * per_batch, group, [&](index_t begin, index_t end) {
    for (index_t chunk = begin; chunk < end; ++chunk) {
      const index_t batch = chunk / per_batch, r = chunk % per_batch / cols, j = chunk % cols * 512;
      const index_t i = rows.begin(r), m = rows.length(r), n = p.n - j < 512 ? p.n - j : 512;
      T* c = p.c + offset(p.batch_c, batch) + i * p.ldc + j;
      const bool add = p.beta != 0;
      if (add) dense::scale_block(m, n, p.beta, c, p.ldc);
      dense::multiply_packing(
          m, n, p.k, p.alpha, {a.data + offset(p.batch_a, batch) + i * a.row, a.row, a.column},
          p.b + offset(p.batch_b, batch) + j * b_column, b_row, b_column, c, p.ldc, add);
    }
  });
}

FLR_CPU_END
