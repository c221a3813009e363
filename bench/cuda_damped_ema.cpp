// Damped moving averages (MEGA's) on the GPU: the kernels, forward alone and with backward, and the
// composition that they replace. The peer, by FFT as MEGA does it, is
// bench/peer/cuda_damped_ema.py.
#include "cuda_bench.hpp"

namespace {

using namespace flr;

struct Case {
  index_t B, N, C, order;

  /// `tokens`: how often the B·N·C values of T are read or written; multiply-adds a value and rate.
  template <class T>
  bench::Work work(double tokens, double multiply_adds) const {
    const double values = double(B) * double(N) * double(C);
    bench::Work w;
    w.bytes = tokens * values * sizeof(T);
    w.flops = 2 * multiply_adds * values * double(order);
    w.flops_per_s = bench::flops_per_second<float>();
    return w;
  }
};

template <class T>
void run(bench::Report& report, const Case& c, bool with_composition) {
  const std::string shape = fmt::format(
      "{} B{} N{} C{} order{}", std::same_as<T, bf16> ? "bf16" : "fp32", c.B, c.N, c.C, c.order);
  if (!report.wanted("ema_fwd", shape) && !report.wanted("ema_bwd", shape) &&
      !report.wanted("ema_fwd_bwd", shape))
    return;
  auto x = bench::normal<T>({c.B, c.N, c.C});
  const auto dy = bench::normal<T>({c.B, c.N, c.C});
  auto decay = map(0.05 + 0.9 * _1, rand<float>({c.C, c.order}, Device::cuda));
  auto weight = bench::normal<float>({c.C, c.order});
  auto y = empty<T>(x.shape(), Device::cuda), dx = empty<T>(x.shape(), Device::cuda);
  auto ddecay = empty<float>(decay.shape(), Device::cuda);
  auto dweight = empty<float>(decay.shape(), Device::cuda);
  DampedEmaBackwardParams<T> b;
  DampedEmaParams<T>& p = b.f;
  p.batch = c.B, p.tokens = c.N, p.channels = c.C, p.order = c.order;
  p.x = x.data(), p.decay = decay.data(), p.weight = weight.data(), p.y = y.mutable_data();
  b.dy = dy.data(), b.dx = dx.mutable_data();
  b.ddecay = ddecay.mutable_data(), b.dweight = dweight.mutable_data();
  b.dx_mode = b.ddecay_mode = b.dweight_mode = GradMode::overwrite;

  const Backend<T>& gpu = backend<T>(Device::cuda);
  report.time("ema_fwd", shape, c.work<T>(2, 2), [&] { gpu.damped_ema(p); });
  // Backward reads x and dy and writes dx; g and dx, s and dw, u and dr are two multiply-adds each.
  report.time("ema_bwd", shape, c.work<T>(3, 6), [&] { gpu.damped_ema_backward(b); });
  report.time("ema_fwd_bwd", shape, c.work<T>(5, 8), [&] {
    gpu.damped_ema(p);
    gpu.damped_ema_backward(b);
  });
  if (!with_composition) return;
  const auto composed = [&] {
    return damped_ema_composition(x.template to<float>(), decay, weight).template to<T>();
  };
  report.time(
      "ema_fwd", shape, c.work<T>(2, 2),
      [&] {
        NoGrad scope;
        composed();
      },
      "flr-composition");
  x.requires_grad(true), decay.requires_grad(true), weight.requires_grad(true);
  report.time(
      "ema_fwd_bwd", shape, c.work<T>(5, 8),
      [&] {
        x.zero_grad(), decay.zero_grad(), weight.zero_grad();
        backward(composed(), dy);
      },
      "flr-composition");
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    for (const index_t order : {2, 16}) {
      run<bf16>(report, {32, 2000, 128, order}, true);  // Long Range Arena
      run<bf16>(report, {8, 16384, 128, order}, true);
      run<bf16>(report, {1, 1'000'000, 64, order}, false);
    }
    run<float>(report, {32, 2000, 128, 16}, true);
    run<float>(report, {1, 1'000'000, 64, 16}, false);
  });
}
