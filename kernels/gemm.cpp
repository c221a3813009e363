// C = alpha · op(A) op(B) + beta · C over two batch axes, by cuBLASLt: bf16 with float sums, true
// float unless TF32 is chosen, double. The batch axes go in one call where their strides allow,
// else the shorter one is a loop of calls.
#include "gemm.hpp"

#include "cublas.hpp"
#include "gemm_plain.hpp"
#include "table.hpp"

namespace flr::cuda {

namespace {

/// cuBLAS counts batches on a grid axis that ends here.
constexpr index_t most_batches = 65535;

/// `count` batches along axis `which`.
template <class T, class Out>
void one_axis(const GemmParams<T>& p, Out* c, const Out* bias, index_t count, int which) {
  Product q;
  q.type_in = cuda_type<T>, q.type_out = cuda_type<Out>;
  q.m = p.m, q.n = p.n, q.k = p.k;
  q.lda = p.lda, q.ldb = p.ldb, q.ldc = p.ldc;
  q.trans_a = p.trans_a, q.trans_b = p.trans_b;
  q.alpha = p.alpha, q.beta = p.beta, q.bias = bias;
  const index_t a = p.batch_a[which], b = p.batch_b[which], out = p.batch_c[which];
  // Strides of a single batch mean nothing, and would make plans of their own.
  if (count > 1) q.stride_a = a, q.stride_b = b, q.stride_c = out;
  for (index_t first = 0; first < count; first += most_batches) {
    q.batch = count - first < most_batches ? count - first : most_batches;
    q.a = p.a + first * a, q.b = p.b + first * b, q.c = c + first * out;
    if (multiply(q)) continue;
    GemmParams<T> r = p;
    r.a += first * a, r.b += first * b;
    r.batch[0] = 1, r.batch[1] = q.batch;
    r.batch_a[1] = a, r.batch_b[1] = b, r.batch_c[1] = out;
    multiply_plain(r, c + first * out, bias);
  }
}

}  // namespace

template <class T, class Out>
void gemm_into(const GemmParams<T>& p, Out* c, const Out* bias) {
  check(p.m >= 0 && p.n >= 0 && p.k >= 0 && p.batch[0] >= 0 && p.batch[1] >= 0,
        "[gemm] expected extents of 0 or more; got m {}, n {}, k {}, batch {}×{}", p.m, p.n, p.k,
        p.batch[0], p.batch[1]);
  const index_t batches = p.batch[0] * p.batch[1];
  if (p.m == 0 || p.n == 0 || batches == 0) return;
  if (p.k == 0) return multiply_plain(p, c, bias);

  const auto joins = [&p](const index_t(&stride)[2]) {
    return stride[0] == p.batch[1] * stride[1];
  };
  // The loop runs over `outer`, a call takes the other axis.
  int outer = p.batch[0] <= p.batch[1] ? 0 : 1;
  index_t loops = p.batch[outer], count = p.batch[1 - outer];
  if (joins(p.batch_a) && joins(p.batch_b) && joins(p.batch_c))
    outer = 0, loops = 1, count = batches;
  GemmParams<T> q = p;
  for (index_t i = 0; i < loops; ++i) {
    q.a = p.a + i * p.batch_a[outer], q.b = p.b + i * p.batch_b[outer];
    one_axis(q, c + i * p.batch_c[outer], bias, count, 1 - outer);
  }
}

template <class T>
void gemm(const GemmParams<T>& p) {
  gemm_into(p, p.c);
}

template void gemm_into(const GemmParams<float>&, float*, const float*);
template void gemm_into(const GemmParams<double>&, double*, const double*);
template void gemm_into(const GemmParams<bf16>&, bf16*, const bf16*);
template void gemm_into(const GemmParams<bf16>&, float*, const float*);
template void gemm<float>(const GemmParams<float>&);
template void gemm<double>(const GemmParams<double>&);
template void gemm<bf16>(const GemmParams<bf16>&);

}  // namespace flr::cuda
