// y = act(x wᵀ + b) and its gradients: dp = dy · act′(p), dx = dp w, dw = dpᵀ x, db = Σ dp.
//
// Products are cuBLASLt's (gemm.hpp), which adds the bias too; the activation follows in one pass,
// bound by memory. dw sums over the rows: linear/weight_gradient.cpp. Layers with at most 8 inputs or
// outputs take kernels of their own (linear/).
#include "common/activation.cuh"
#include "common/elementwise.cuh"
#include "flr/core/explain.hpp"
#include "gemm.hpp"
#include "linear/parts.hpp"
#include "table.hpp"

namespace flr::cuda {

namespace {

/// y = act(z + bias); pre = z + bias where there is a bias to add. y, pre and z may be the same.
template <class T, Activation A>
struct Activate {
  const T* z;
  const T* bias;
  index_t cols;
  T *y, *pre;

  template <int N>
  __device__ Pack<T, N> load(index_t i) const {
    return load_pack<N>(z + i);
  }
  template <int N>
  __device__ void store(index_t i, const Pack<T, N>& in) const {
    using C = compute_t<T>;
    Pack<T, N> out, sum = in;
#pragma unroll
    for (int e = 0; e < N; ++e) {
      C v = to_compute(in.v[e]);
      if (bias) v += to_compute(bias[(i + e) % cols]);
      sum.v[e] = from_compute<T>(v);
      out.v[e] = from_compute<T>(activation<A, std::is_same_v<T, bf16>, C>(v).value);
    }
    if (bias && pre) store_pack<N>(pre + i, sum);
    store_pack<N>(y + i, out);
  }
};

template <class T, int N>
struct SlopeInput {
  Pack<T, N> pre, dy;
};

/// dp = dy · act′(pre).
template <class T, Activation A>
struct Slope {
  const T *pre, *dy;
  T* dp;

  template <int N>
  __device__ SlopeInput<T, N> load(index_t i) const {
    return {load_pack<N>(pre + i), load_pack<N>(dy + i)};
  }
  template <int N>
  __device__ void store(index_t i, const SlopeInput<T, N>& in) const {
    using C = compute_t<T>;
    Pack<T, N> out;
#pragma unroll
    for (int e = 0; e < N; ++e) {
      const C slope = activation<A, std::is_same_v<T, bf16>, C>(to_compute(in.pre.v[e])).slope;
      out.v[e] = from_compute<T>(to_compute(in.dy.v[e]) * slope);
    }
    store_pack<N>(dp + i, out);
  }
};

template <class T>
void explain_layer(const char* what, index_t rows, index_t in, index_t out, const char* kernel) {
  explain([&] {
    return fmt::format("[{}] rows={} in={} out={} {} on cuda: {}", what, rows, in, out,
                       name_of(dtype_of<T>), kernel);
  });
}

}  // namespace

template <class T>
void linear(const LinearParams<T>& p) {
  check(p.rows >= 0 && p.in >= 0 && p.out >= 0,
        "[linear] expected extents of 0 or more; got rows {}, in {}, out {}", p.rows, p.in, p.out);
  if (p.rows == 0 || p.out == 0) return;
  if (p.in > 0 && (p.in <= dense::narrow || p.out <= dense::narrow)) {
    dense::ThinProduct<T> t;
    t.rows = p.rows, t.k = p.in, t.n = p.out;
    t.a = p.x, t.w = p.w, t.w_k = 1, t.w_n = p.in, t.bias = p.b;
    t.act = p.act, t.y = p.y, t.pre = p.pre;
    if (p.in <= dense::narrow) {
      explain_layer<T>("linear", p.rows, p.in, p.out, "thin, over its inputs");
      return dense::thin_depth(t);
    }
    if (dense::thin_columns(t))
      return explain_layer<T>("linear", p.rows, p.in, p.out, "thin, over its outputs");
  }
  explain_layer<T>("linear", p.rows, p.in, p.out,
                   p.out <= dense::narrow ? "gemm (cuBLASLt); thin: too many inputs"
                                          : "gemm (cuBLASLt); thin: too many inputs and outputs");
  // cuBLASLt adds no bias to doubles.
  constexpr bool fuses_bias = !std::is_same_v<T, double>;
  T* z = p.pre ? p.pre : p.y;
  GemmParams<T> g;
  g.m = p.rows, g.n = p.out, g.k = p.in, g.trans_b = true;
  g.a = p.x, g.lda = p.in, g.b = p.w, g.ldb = p.in, g.ldc = p.out;
  gemm_into(g, z, fuses_bias ? p.b : nullptr);
  const T* bias = fuses_bias ? nullptr : p.b;
  if (p.act == Activation::identity && !bias && z == p.y) return;
  with_activation(p.act, [&](auto a) {
    const Activate<T, decltype(a)::value> f{z, bias, p.out, p.y, p.pre};
    launch_elementwise<pack_width<T>>(f, p.rows * p.out, "linear (activation)", z, p.y);
  });
}

template <class T>
void linear_backward(const LinearBackwardParams<T>& p) {
  using C = compute_t<T>;
  check(p.rows >= 0 && p.in >= 0 && p.out >= 0,
        "[linear_backward] expected extents of 0 or more; got rows {}, in {}, out {}", p.rows, p.in,
        p.out);
  check(p.act == Activation::identity || p.pre || p.rows * p.out == 0,
        "[linear_backward] expected the pre-activations that forward saves; got none");
  const auto zero = [&](C* x, index_t n, GradMode mode) {
    if (mode == GradMode::overwrite) fill<C>(x, n, C(0));
  };
  if (p.rows == 0 || p.out == 0) {
    zero(p.dw, p.in * p.out, p.dw_mode), zero(p.db, p.out, p.db_mode);
    if (p.dx_mode == GradMode::overwrite) fill<T>(p.dx, p.rows * p.in, C(0));
    return;
  }

  const bool plain = p.act == Activation::identity;
  Scratch<T> room(plain ? 0 : p.rows * p.out);
  const T* dp = p.dy;
  if (!plain) {
    with_activation(p.act, [&](auto a) {
      const Slope<T, decltype(a)::value> f{p.pre, p.dy, room.data()};
      launch_elementwise<pack_width<T>>(f, p.rows * p.out, "linear (slope)", p.pre, p.dy,
                                        static_cast<const T*>(room.data()));
    });
    dp = room.data();
  }
  if (p.dx_mode != GradMode::ignore && p.in > 0) {
    const bool add = p.dx_mode == GradMode::accumulate;
    dense::ThinProduct<T> t;
    t.rows = p.rows, t.k = p.out, t.n = p.in;
    t.a = dp, t.w = p.w, t.w_k = p.in, t.w_n = 1, t.y = p.dx, t.accumulate = add;
    if (p.out <= dense::narrow) {
      explain_layer<T>("linear dx", p.rows, p.in, p.out, "thin, over the outputs");
      dense::thin_depth(t);
    } else if (p.in <= dense::narrow && dense::thin_columns(t)) {
      explain_layer<T>("linear dx", p.rows, p.in, p.out, "thin, over the inputs");
    } else {
      explain_layer<T>("linear dx", p.rows, p.in, p.out,
                       "gemm (cuBLASLt); thin: too many inputs and outputs");
      GemmParams<T> g;
      g.m = p.rows, g.n = p.in, g.k = p.out;
      g.a = dp, g.lda = p.out, g.b = p.w, g.ldb = p.in, g.ldc = p.in;
      g.beta = add ? C(1) : C(0);
      gemm_into(g, p.dx);
    }
  }
  C* const db = p.db_mode == GradMode::ignore ? nullptr : p.db;
  const bool add_db = p.db_mode == GradMode::accumulate;
  if (p.dw_mode != GradMode::ignore && p.in > 0)
    dense::weight_gradient(p.rows, p.in, p.out, dp, p.x, p.dw, p.dw_mode == GradMode::accumulate, db, add_db);
  else if (db)
    dense::thin_sums<T>(p.rows, 0, p.out, nullptr, dp, db, false, add_db);
}

template void linear(const LinearParams<float>&);
template void linear(const LinearParams<double>&);
template void linear(const LinearParams<bf16>&);
template void linear_backward(const LinearBackwardParams<float>&);
template void linear_backward(const LinearBackwardParams<double>&);
template void linear_backward(const LinearBackwardParams<bf16>&);

}  // namespace flr::cuda
