// FAVOR+ features on the GPU, of queries and of keys: the kernels, forward alone and with backward,
// and the composition that they replace. Tokens lie as a network has them, [B,N,H·D]; features are
// of float. The peer is bench/peer/cuda_favor.py.
#include "cuda_bench.hpp"

namespace {

using namespace flr;

struct Case {
  index_t B, N, H, D, R;

  /// `tokens` and `features`: how often tokens in T and features in float are read or written;
  /// `products`, how often all exponents are made, or tokens' gradients of theirs. Products are of
  /// float in the plain cores, whatever T is.
  template <class T>
  bench::Work work(double tokens, double features, double products) const {
    const double rows = double(B) * double(N) * double(H), d = double(D), r = double(R);
    bench::Work w;
    w.bytes = rows * (tokens * d * sizeof(T) + features * r * sizeof(float));
    w.flops = products * 2 * rows * d * r;
    w.flops_per_s = bench::flops_per_second<float>();
    w.exponentials = features * rows * r;
    return w;
  }
};

/// What is done where there is no kernel, on the GPU.
template <class T>
Tensor<float> composition(const Tensor<T>& x, const Tensor<float>& rows, bool keys) {
  const auto e = mixers::favor_exponents(x.template to<float>(), rows);
  const double factor = 1 / std::sqrt(double(rows.size(1)));
  return map(exp(_1 - _2) * factor + 1e-6, e, keys ? max(e, {2, 3}, true) : max(e, {3}, true));
}

template <class T>
void run(bench::Report& report, const Case& c, bool keys) {
  const std::string name = keys ? "favor_keys" : "favor_queries",
                    shape = fmt::format("{} B{} N{} H{} D{} R{}",
                                        std::same_as<T, bf16> ? "bf16" : "fp32", c.B, c.N, c.H, c.D,
                                        c.R);
  if (!report.wanted(name + "_fwd", shape) && !report.wanted(name + "_bwd", shape) &&
      !report.wanted(name + "_fwd_bwd", shape))
    return;
  auto x = bench::normal<T>({c.B, c.N, c.H * c.D});
  const auto rows = mixers::favor_rows<float>(c.H, c.R, c.D).to(Device::cuda);
  const auto dy = bench::normal<float>({c.B, c.H, c.N, c.R});
  auto y = empty<float>(dy.shape(), Device::cuda), maximum = empty<float>({c.B, c.H}, Device::cuda);
  auto dx = empty<T>(x.shape(), Device::cuda);

  FavorBackwardParams<T> b;
  FavorParams<T>& p = b.f;
  p.B = c.B, p.H = c.H, p.N = c.N, p.D = c.D, p.R = c.R;
  p.factor = float(std::pow(double(c.D), -0.25)), p.scale = float(1 / std::sqrt(double(c.R)));
  p.offset = 1e-6f, p.shared_maximum = keys;
  p.x = x.data(), p.xs = {c.N * c.H * c.D, c.D, c.H * c.D}, p.rows = rows.data();
  p.y = y.mutable_data(), p.maximum = maximum.mutable_data();
  b.dy = dy.data(), b.dx = dx.mutable_data(), b.dxs = p.xs, b.dx_mode = GradMode::overwrite;

  const Backend<T>& gpu = backend<T>(Device::cuda);
  gpu.favor(p);  // so that a backward alone has maxima to start from
  const double reads = keys ? 2 : 1;
  const bench::Work forward = c.work<T>(reads, 1, reads), both = c.work<T>(reads + 2, 2, reads + 2);
  report.time(name + "_fwd", shape, forward, [&] { gpu.favor(p); });
  report.time(name + "_bwd", shape, c.work<T>(2, 1, 2), [&] { gpu.favor_backward(b); });
  report.time(name + "_fwd_bwd", shape, both, [&] { gpu.favor(p), gpu.favor_backward(b); });
  report.time(
      name + "_fwd", shape, forward,
      [&] {
        NoGrad scope;
        composition(nn::split_heads(x, c.H), rows, keys);
      },
      "flr-composition");
  x.requires_grad(true);
  report.time(
      name + "_fwd_bwd", shape, both,
      [&] {
        x.zero_grad();
        backward(composition(nn::split_heads(x, c.H), rows, keys), dy);
      },
      "flr-composition");
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    for (const bool keys : {false, true}) {
      run<bf16>(report, {32, 2000, 8, 16, 256}, keys);  // Long Range Arena
      run<float>(report, {32, 2000, 8, 16, 256}, keys);
      run<bf16>(report, {1, 65536, 8, 16, 256}, keys);
      for (const index_t D : {8, 64}) run<float>(report, {1, 65536, 8, D, 256}, keys);
      for (const index_t R : {64, 1024}) run<float>(report, {1, 16384, 8, 32, R}, keys);
    }
  });
}
