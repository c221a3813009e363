// Batched matrix products.
//
//   C = A B over the last two axes, leading axes broadcast;
//   dA = dC Bᵀ, dB = Aᵀ dC, summed over broadcast axes.
// A transposed view (transpose(x, -1, -2)) is read in place, not copied.
#pragma once

#include "flr/ops/views.hpp"

namespace flr {

namespace detail {

/// A matrix operand as gemm wants it: row-major or its transpose, with a leading dimension.
template <Floating T>
struct MatrixView {
  Tensor<T> x;
  bool transposed = false;
  index_t ld = 0;

  explicit MatrixView(Tensor<T> t) : x(std::move(t)) {
    index_t rows = x.size(-2), cols = x.size(-1), rs = x.strides()[-2], cs = x.strides()[-1];
    if (!((cs == 1 || cols == 1) && (rs >= cols || rows == 1)) &&
        !((rs == 1 || rows == 1) && (cs >= rows || cols == 1))) {
      x = x.clone();
      rs = x.strides()[-2], cs = x.strides()[-1];
    }
    transposed = !((cs == 1 || cols == 1) && (rs >= cols || rows == 1));
    ld = transposed ? (cols == 1 ? rows : cs) : (rows == 1 ? cols : rs);
  }
};

/// c (contiguous, of the broadcast shape) = beta·c + a b for leading axes that broadcast.
template <Floating T>
void matmul_into(const Tensor<T>& a_in, const Tensor<T>& b_in, Tensor<T>& c, double beta) {
  const MatrixView<T> a(a_in), b(b_in);
  GemmParams<T> p;
  p.m = c.size(-2), p.n = c.size(-1), p.k = a.x.size(-1);
  p.lda = a.ld, p.ldb = b.ld, p.ldc = p.n;
  p.trans_a = a.transposed, p.trans_b = b.transposed;
  p.beta = static_cast<compute_t<T>>(beta);
  Shape lead = c.shape();
  lead.erase(lead.rank() - 1), lead.erase(lead.rank() - 1);
  const auto strides_of = [&](const Tensor<T>& t) {
    Shape s = t.shape(), d = t.strides();
    for (int i = 0; i < 2; ++i) s.erase(s.rank() - 1), d.erase(d.rank() - 1);
    return broadcast_strides(s, d, lead);
  };
  const Shape sa = strides_of(a.x), sb = strides_of(b.x), sc = strides_of(c);
  const T *pa = a.x.data(), *pb = b.x.data();
  T* pc = c.mutable_data();
  const int rank = lead.rank();
  for (int i = 0; i < 2 && i < rank; ++i) {
    const int axis = rank - 1 - i;
    p.batch[1 - i] = lead[axis];
    p.batch_a[1 - i] = sa[axis], p.batch_b[1 - i] = sb[axis], p.batch_c[1 - i] = sc[axis];
  }
  // Axes beyond two are a loop: they are rare.
  Shape outer;
  for (int i = 0; i + 2 < rank; ++i) outer.push_back(lead[i]);
  const auto offsets = [&](const Shape& strides) {
    std::vector<index_t> list;
    for_each_offset(outer, strides, [&](index_t, index_t offset) { list.push_back(offset); });
    return list;
  };
  const std::vector<index_t> oa = offsets(sa), ob = offsets(sb), oc = offsets(sc);
  for (std::size_t i = 0; i < oa.size(); ++i) {
    p.a = pa + oa[i], p.b = pb + ob[i], p.c = pc + oc[i];
    backend<T>(c.device()).gemm(p);
  }
}

/// a b with no graph.
template <Floating T>
Tensor<T> matmul_values(const Tensor<T>& a, const Tensor<T>& b) {
  Shape la = a.shape(), lb = b.shape();
  for (Shape* s : {&la, &lb}) s->erase(s->rank() - 1), s->erase(s->rank() - 1);
  Shape shape = broadcast_shapes(la, lb, "matmul");
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  auto c = Tensor<T>::empty(shape, a.device());
  matmul_into(a, b, c, 0);
  return c;
}

template <Floating T>
void matmul_gradient(Backward& back, int input, const Tensor<T>& a, const Tensor<T>& b) {
  auto target = back.target<T>(input);
  if (!target.wanted()) return;
  Shape la = a.shape(), lb = b.shape();
  for (Shape* s : {&la, &lb}) s->erase(s->rank() - 1), s->erase(s->rank() - 1);
  Shape shape = broadcast_shapes(la, lb, "matmul");
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  if (shape == target.tensor().shape()) matmul_into(a, b, target.tensor(), target.accumulate());
  else sum_to(matmul_values(a, b), target);
}

}  // namespace detail

/// a [.., m, k] × b [.., k, n] → [.., m, n]; leading axes broadcast; both need at least two axes.
template <Floating T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b) {
  check(a.rank() >= 2 && b.rank() >= 2 && a.size(-1) == b.size(-2),
        "[matmul] expected a [.., m, k] and b [.., k, n]; got {} and {}", a.shape(), b.shape());
  check(a.device() == b.device(), "[matmul] operands are on {} and {}", a.device().str(),
        b.device().str());
  Tensor<T> c = detail::matmul_values(a, b);
  if (recording(a, b))
    record("matmul", c, Inputs(a, b), [a = save(a), b = save(b)](Backward& back) {
      const Tensor<T> dc = back.grad<T>();
      const Tensor<T> x = a.get("matmul"), y = b.get("matmul");
      if (back.wants(0)) detail::matmul_gradient(back, 0, dc, transpose(y, -1, -2));
      if (back.wants(1)) detail::matmul_gradient(back, 1, transpose(x, -1, -2), dc);
    });
  return c;
}

}  // namespace flr
