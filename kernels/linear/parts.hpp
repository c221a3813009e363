// The parts of the dense layer that are kernels of their own.
#pragma once

#include <initializer_list>

#include "common/stream.hpp"

namespace flr::cuda::dense {

/// Extents up to here are narrow: such products are bound by reading and writing the long matrix
/// once, and are done without tensor cores.
inline constexpr index_t narrow = 8;

/// y[rows,n] (+)= act(a[rows,k] w + bias), w(q,j) at w[q·w_k + j·w_n]. bias and pre may be null.
template <class T>
struct ThinProduct {
  index_t rows = 0, k = 0, n = 0;
  const T *a = nullptr, *w = nullptr, *bias = nullptr;
  index_t w_k = 0, w_n = 0;
  Activation act = Activation::identity;
  T *y = nullptr, *pre = nullptr;
  bool accumulate = false;
};

/// k ≤ narrow: a thread holds its columns' weights and walks down the rows.
template <class T>
void thin_depth(const ThinProduct<T>& p);

/// n ≤ narrow: a few lanes share a row of a. False if the weights are too many for shared memory.
template <class T>
bool thin_columns(const ThinProduct<T>& p);

/// sums[s,cols] (+)= Σ over rows of narrow[r,s] · wide[r,cols] for s < terms ≤ narrow; `terms` = 0
/// sums wide itself. `transposed` writes [cols,terms].
template <class T>
void thin_sums(index_t rows, index_t terms, index_t cols, const T* narrow_values, const T* wide,
               compute_t<T>* sums, bool transposed, bool accumulate);

/// y[i] (+)= Σ over parts, in order, of partials[part·n + i]. With cols > 0 element i = s·cols + j
/// goes to j·(n / cols) + s. Without y nothing is summed.
template <class C>
struct PartSum {
  index_t n = 0;
  const C* partials = nullptr;
  C* y = nullptr;
  bool accumulate = false;
  index_t cols = 0;
};
/// Up to four of them in one launch.
template <class C>
void sum_parts(index_t parts, std::initializer_list<PartSum<C>> sums);

/// dw[out,in] (+)= dpᵀ x for dp [rows,out] and x [rows,in]; and db[out] (+)= Σ dp over the rows,
/// where db is not null.
template <class T>
void weight_gradient(index_t rows, index_t in, index_t out, const T* dp, const T* x,
                     compute_t<T>* dw, bool add_dw, compute_t<T>* db = nullptr, bool add_db = false);

/// The same by a kernel of its own; false where it does not fit.
bool tensor_weight_gradient(index_t rows, index_t in, index_t out, const bf16* dp, const bf16* x,
                            float* dw, bool add_dw, float* db, bool add_db);

}  // namespace flr::cuda::dense
