// Products, dense layers and norms of bf16 tensors: computed by the float kernels on
// widened copies. Parameter gradients are float already and pass through.
#pragma once

#include "flr/cpu/gemm.hpp"
#include "flr/cpu/linear.hpp"
#include "flr/cpu/norm.hpp"
#include "flr/cpu/residual_mlp.hpp"
#include "flr/cpu/widen.hpp"

FLR_CPU_BEGIN

inline void gemm(const GemmParams<bf16>& p) {
  const auto matrix = [&](const bf16* x, bool transposed, index_t rows, index_t cols, index_t ld,
                          const index_t(&batch)[2], bool read) {
    if (transposed) std::swap(rows, cols);
    return Widened(x, {p.batch[0], p.batch[1], rows, cols}, {batch[0], batch[1], ld, 1}, read);
  };
  const Widened a = matrix(p.a, p.trans_a, p.m, p.k, p.lda, p.batch_a, true);
  const Widened b = matrix(p.b, p.trans_b, p.k, p.n, p.ldb, p.batch_b, true);
  const Widened c = matrix(p.c, false, p.m, p.n, p.ldc, p.batch_c, p.beta != 0);
  GemmParams<float> f;
  f.m = p.m, f.n = p.n, f.k = p.k;
  f.trans_a = p.trans_a, f.trans_b = p.trans_b, f.alpha = p.alpha, f.beta = p.beta;
  f.a = a.data(), f.b = b.data(), f.c = c.data();
  f.lda = a.stride(2), f.ldb = b.stride(2), f.ldc = c.stride(2);
  for (int i = 0; i < 2; ++i) {
    f.batch[i] = p.batch[i];
    f.batch_a[i] = a.stride(i), f.batch_b[i] = b.stride(i), f.batch_c[i] = c.stride(i);
  }
  gemm(f);
  c.narrow(p.c);
}

inline void linear(const LinearParams<bf16>& p) {
  const Widened x(p.x, p.rows * p.in), w(p.w, p.out * p.in), b(p.b, p.out);
  const Widened y(p.y, p.rows * p.out, false), pre(p.pre, p.rows * p.out, false);
  linear(LinearParams<float>{p.rows, p.in, p.out, x.data(), w.data(), b.data(), p.act, y.data(),
                             pre.data()});
  y.narrow(p.y);
  pre.narrow(p.pre);
}

inline void linear_backward(const LinearBackwardParams<bf16>& p) {
  const Widened x(p.x, p.rows * p.in), w(p.w, p.out * p.in), pre(p.pre, p.rows * p.out);
  const Widened dy(p.dy, p.rows * p.out), dx(p.dx, p.rows * p.in, false);
  const bool wanted = p.dx_mode != GradMode::ignore;
  linear_backward(LinearBackwardParams<float>{
      p.rows, p.in, p.out, x.data(), w.data(), pre.data(), dy.data(), p.act, dx.data(), p.dw, p.db,
      wanted ? GradMode::overwrite : GradMode::ignore, p.dw_mode, p.db_mode});
  if (wanted) dx.narrow(p.dx, p.dx_mode == GradMode::accumulate);
}

/// Weights or biases of a residual MLP, one after the other in one float array.
class WidenedLayers {
 public:
  template <class P>
  WidenedLayers(const P& p, const bf16* const (&source)[max_mlp_layers + 2], bool weights)
      : buffer_(weights ? p.in * p.hid + p.layers * p.hid * p.hid + p.hid * p.out
                        : (p.layers + 1) * p.hid + p.out) {
    float* free = buffer_.data();
    for (int l = 0; l <= p.layers + 1; ++l) {
      const index_t out = l <= p.layers ? p.hid : p.out, in = l == 0 ? p.in : p.hid;
      if (!source[l]) continue;
      layer[l] = free;
      convert(source[l], free, weights ? out * in : out);
      free += weights ? out * in : out;
    }
  }
  const float* layer[max_mlp_layers + 2] = {};

 private:
  flr::detail::Scratch<float> buffer_;
};

/// The members that ResidualMlpParams and ResidualMlpBackwardParams share.
template <class To, class From>
inline To same_mlp(const From& p) {
  To f;
  f.rows = p.rows, f.in = p.in, f.hid = p.hid, f.out = p.out, f.layers = p.layers;
  f.residual_in = p.residual_in, f.residual_out = p.residual_out, f.act = p.act;
  return f;
}

inline bool supports_residual_mlp(const ResidualMlpParams<bf16>& p, std::string* why) {
  return supports_residual_mlp(same_mlp<ResidualMlpParams<float>>(p), why);
}

inline void residual_mlp(const ResidualMlpParams<bf16>& p) {
  auto f = same_mlp<ResidualMlpParams<float>>(p);
  const WidenedLayers w(p, p.w, true), b(p, p.b, false);
  const Widened x(p.x, p.rows * p.in), y(p.y, p.rows * p.out, false);
  const Widened pre(p.pre, (p.layers + 1) * p.rows * p.hid, false);
  for (int l = 0; l <= p.layers + 1; ++l) f.w[l] = w.layer[l], f.b[l] = b.layer[l];
  f.x = x.data(), f.y = y.data(), f.pre = pre.data();
  residual_mlp(f);
  y.narrow(p.y);
  pre.narrow(p.pre);
}

inline void residual_mlp_backward(const ResidualMlpBackwardParams<bf16>& p) {
  auto f = same_mlp<ResidualMlpBackwardParams<float>>(p);
  const WidenedLayers w(p, p.w, true);
  const Widened x(p.x, p.rows * p.in), pre(p.pre, (p.layers + 1) * p.rows * p.hid);
  const Widened dy(p.dy, p.rows * p.out), dx(p.dx, p.rows * p.in, false);
  for (int l = 0; l <= p.layers + 1; ++l) {
    f.w[l] = w.layer[l], f.dw[l] = p.dw[l], f.db[l] = p.db[l];
    f.dw_mode[l] = p.dw_mode[l], f.db_mode[l] = p.db_mode[l];
  }
  f.x = x.data(), f.pre = pre.data(), f.dy = dy.data(), f.dx = dx.data();
  if (p.dx_mode != GradMode::ignore) f.dx_mode = GradMode::overwrite;
  residual_mlp_backward(f);
  if (p.dx_mode != GradMode::ignore) dx.narrow(p.dx, p.dx_mode == GradMode::accumulate);
}

/// The sum of which the norm is taken, rounded after each addition.
inline void norm_sum(const NormParams<bf16>& p) {
  const dense::RowChunks chunks = dense::norm_chunks(p.rows, p.cols);
  parallel_for(chunks.count, [&](index_t chunk) {
    const index_t begin = chunks.begin(chunk), end = begin + chunks.length(chunk);
    for (index_t r = begin; r < end; ++r) {
      const bf16* more = p.add_rows ? p.add_rows + r % p.period * p.cols : nullptr;
      for (index_t i = r * p.cols, j = 0; j < p.cols; ++i, ++j) {
        bf16 v = p.x[i];
        if (p.add) v = bf16(float(v) + float(p.add[i]));
        if (more) v = bf16(float(v) + float(more[j]));
        p.sum[i] = v;
      }
    }
  });
}

inline void norm(const NormParams<bf16>& p) {
  const bool adds = p.add || p.add_rows;
  if (adds) norm_sum(p);
  const Widened x(adds ? p.sum : p.x, p.rows * p.cols), y(p.y, p.rows * p.cols, false);
  norm(NormParams<float>{p.rows, p.cols, p.rms, p.eps, x.data(), p.w, p.b, y.data(), p.mean,
                         p.rstd});
  y.narrow(p.y);
}

inline void norm_backward(const NormBackwardParams<bf16>& p) {
  const Widened x(p.x, p.rows * p.cols), dy(p.dy, p.rows * p.cols);
  const Widened dx(p.dx, p.rows * p.cols, false);
  const bool wanted = p.dx_mode != GradMode::ignore;
  norm_backward(NormBackwardParams<float>{
      p.rows, p.cols, p.rms, x.data(), dy.data(), p.w, p.mean, p.rstd, dx.data(), p.dw, p.db,
      wanted ? GradMode::overwrite : GradMode::ignore, p.dw_mode, p.db_mode});
  if (wanted) dx.narrow(p.dx, p.dx_mode == GradMode::accumulate);
}

FLR_CPU_END
