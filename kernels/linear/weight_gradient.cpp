// The weight gradient of a dense layer sums over the rows, a million of them for a small result. bf16
// has a kernel of its own (weight_gradient_tensor.cu); otherwise the rows are cut into stretches, one
// batch of partial products in float, which are added in order.
#include <type_traits>

#include "gemm.hpp"
#include "linear/parts.hpp"

namespace flr::cuda::dense {

namespace {

/// Rows of a part, for about `parts` parts: the same for all where that keeps operands aligned, since
/// a shorter one at the end is a launch of its own; otherwise a multiple of 64.
index_t stretch(index_t rows, index_t parts, index_t in, index_t out, index_t size) {
  for (index_t n = parts; 2 * n > parts; --n)
    if (rows % n == 0 && rows / n * in * size % 16 == 0 && rows / n * out * size % 16 == 0)
      return rows / n;
  return ceil_div(ceil_div(rows, parts), 64) * 64;
}

template <class T>
void sum_products(index_t rows, index_t in, index_t out, const T* dp, const T* x, compute_t<T>* dw,
                  bool accumulate) {
  using C = compute_t<T>;
  if (out <= narrow && out <= in)
    return thin_sums(rows, out, in, dp, x, dw, false, accumulate);
  if (in <= narrow) return thin_sums(rows, in, out, x, dp, dw, true, accumulate);
  if (out <= narrow) return thin_sums(rows, out, in, dp, x, dw, false, accumulate);

  // About 256 tiles of work in all, at least 128 rows each; a multiple of 64 keeps the alignment.
  const index_t tiles = ceil_div(out, 64) * ceil_div(in, 64);
  const index_t wanted = tiles < 256 ? 256 / tiles : 1, most = ceil_div(rows, 128);
  const index_t length = stretch(rows, wanted < most ? wanted : most, in, out, sizeof(T));
  const index_t whole = rows / length, rest = rows % length, size = out * in;
  GemmParams<T> g;
  g.m = out, g.n = in, g.k = length, g.trans_a = true;
  g.a = dp, g.lda = out, g.b = x, g.ldb = in, g.ldc = in;
  if (whole + (rest > 0) <= 1) {
    g.k = rows, g.beta = accumulate ? C(1) : C(0);
    return gemm_into(g, dw);
  }
  Scratch<C> partials((whole + 1) * size);
  g.batch[1] = whole;
  g.batch_a[1] = length * out, g.batch_b[1] = length * in, g.batch_c[1] = size;
  gemm_into(g, partials.data());
  if (rest > 0) {
    g.batch[1] = 1, g.k = rest;
    g.a = dp + whole * length * out, g.b = x + whole * length * in;
    gemm_into(g, partials + whole * size);
  }
  sum_parts<C>(whole + (rest > 0), {{size, partials, dw, accumulate}});
}

}  // namespace

template <class T>
void weight_gradient(index_t rows, index_t in, index_t out, const T* dp, const T* x,
                     compute_t<T>* dw, bool add_dw, compute_t<T>* db, bool add_db) {
  if constexpr (std::is_same_v<T, bf16>)
    if (tensor_weight_gradient(rows, in, out, dp, x, dw, add_dw, db, add_db)) return;
  sum_products(rows, in, out, dp, x, dw, add_dw);
  if (db) thin_sums<T>(rows, 0, out, nullptr, dp, db, false, add_db);
}

template void weight_gradient(index_t, index_t, index_t, const float*, const float*, float*, bool,
                              float*, bool);
template void weight_gradient(index_t, index_t, index_t, const double*, const double*, double*, bool,
                              double*, bool);
template void weight_gradient(index_t, index_t, index_t, const bf16*, const bf16*, float*, bool,
                              float*, bool);

}  // namespace flr::cuda::dense
