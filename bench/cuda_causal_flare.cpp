// Causal FLARE on the GPU: the kernels, forward alone and with backward, and the composition that
// they replace. Tokens lie as a network has them, [B,N,H·D]. The peer is
// bench/peer/cuda_causal_flare.py.
#include "cuda_bench.hpp"

namespace {

using namespace flr;

struct Case {
  index_t B, N, H, M, D;

  /// `tokens`: how often the B·N·H·D values of T are read or written; `exponentials` a token and
  /// latent; products with latents and, of tiles of 64 tokens with 32 earlier keys on average,
  /// within.
  template <class T>
  bench::Work work(double tokens, double exponentials, double products, double within) const {
    const double rows = double(B) * double(N) * double(H), d = double(D), m = double(M);
    bench::Work w;
    w.bytes = tokens * rows * d * sizeof(T);
    w.exponentials = exponentials * rows * m;
    w.flops = rows * (2 * products * m * d + 2 * 32 * within * (m + d));
    w.flops_per_s = bench::flops_per_second<T>();
    return w;
  }
};

template <class T>
void run(bench::Report& report, const Case& c, bool with_composition) {
  const std::string shape = fmt::format(
      "{} B{} N{} H{} M{} D{}", std::same_as<T, bf16> ? "bf16" : "fp32", c.B, c.N, c.H, c.M, c.D);
  if (!report.wanted("causal_flare_fwd", shape) && !report.wanted("causal_flare_bwd", shape) &&
      !report.wanted("causal_flare_fwd_bwd", shape))
    return;
  const Shape tokens{c.B, c.N, c.H * c.D}, latents{c.H, c.M, c.D};
  auto q = bench::normal<T>(latents), k = bench::normal<T>(tokens), v = bench::normal<T>(tokens);
  const auto dy = bench::normal<T>(tokens);
  auto y = empty<T>(tokens, Device::cuda), dq = empty<T>(latents, Device::cuda);
  auto dk = empty<T>(tokens, Device::cuda), dv = empty<T>(tokens, Device::cuda);

  const HeadStrides strides{c.N * c.H * c.D, c.D, c.H * c.D}, of_latents{0, c.M * c.D, c.D};
  const double scale = 1 / std::sqrt(double(c.D));
  CausalFlareBackwardParams<T> b;
  CausalFlareParams<T>& p = b.f;
  p.B = c.B, p.H = c.H, p.M = c.M, p.N = c.N, p.E = p.D = c.D, p.scale = static_cast<float>(scale);
  p.q = q.data(), p.k = k.data(), p.v = v.data(), p.y = y.mutable_data();
  p.qs = of_latents, p.ks = p.vs = p.ys = strides;
  b.dy = dy.data(), b.dys = strides;
  b.dq = dq.mutable_data(), b.dk = dk.mutable_data(), b.dv = dv.mutable_data();
  b.dqs = of_latents, b.dks = b.dvs = strides;
  b.dq_mode = b.dk_mode = b.dv_mode = GradMode::overwrite;

  const Backend<T>& gpu = backend<T>(Device::cuda);
  // Forward: scores, weights of latents and of tokens. Backward computes these again and reads k, v
  // and dy.
  report.time("causal_flare_fwd", shape, c.work<T>(3, 2, 3, 1), [&] { gpu.causal_flare(p); });
  report.time("causal_flare_bwd", shape, c.work<T>(5, 2, 9, 4),
              [&] { gpu.causal_flare_backward(b); });
  report.time("causal_flare_fwd_bwd", shape, c.work<T>(8, 4, 12, 5), [&] {
    gpu.causal_flare(p);
    gpu.causal_flare_backward(b);
  });
  if (!with_composition) return;
  const auto composition = [&] {
    return mixers::causal_flare(q, nn::split_heads(k, c.H), nn::split_heads(v, c.H),
                                {.scale = scale});
  };
  setenv("FLR_MIXER", "composition", 1);
  report.time(
      "causal_flare_fwd", shape, c.work<T>(3, 2, 3, 1),
      [&] {
        NoGrad scope;
        composition();
      },
      "flr-composition");
  for (Tensor<T>* t : {&q, &k, &v}) t->requires_grad(true);
  const auto seed = nn::split_heads(dy, c.H);
  report.time(
      "causal_flare_fwd_bwd", shape, c.work<T>(8, 4, 12, 5),
      [&] {
        for (Tensor<T>* t : {&q, &k, &v}) t->zero_grad();
        backward(composition(), seed);
      },
      "flr-composition");
  unsetenv("FLR_MIXER");
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    for (const index_t M : {32, 64, 128}) {
      run<bf16>(report, {1, 131'072, 16, M, 32}, false);
      run<bf16>(report, {1, 16'384, 16, M, 32}, true);
    }
    run<bf16>(report, {32, 2000, 8, 32, 16}, true);
    run<bf16>(report, {1, 131'072, 8, 128, 64}, false);
    for (const index_t M : {32, 128}) run<float>(report, {1, 16'384, 16, M, 32}, true);
  });
}
