// Causal linear attention on the GPU, its feature map elu(x) + 1 included: the kernels, forward
// alone and with backward, and the composition that they replace. Tokens lie as a network has them,
// [B,N,H·D]. The peer is bench/peer/cuda_causal_linear.py.
#include "cuda_bench.hpp"

namespace {

using namespace flr;

struct Case {
  index_t B, N, H, D;

  /// `tokens`: how often the B·N·H·D values of T are read or written; flops a token and head. Tiles
  /// of 64 tokens have 32 earlier keys on average.
  template <class T>
  bench::Work work(double tokens, double states, double within) const {
    const double rows = double(B) * double(N) * double(H), d = double(D);
    bench::Work w;
    w.bytes = tokens * rows * d * sizeof(T);
    w.flops = rows * (2 * states * d * d + 2 * 32 * within * d);
    w.flops_per_s = bench::flops_per_second<T>();
    return w;
  }
};

template <class T>
Tensor<T> composition(const Case& c, const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
  mixers::CausalLinearState<compute_t<T>> state;  // carried states are the composition's alone
  const auto features = [&](const Tensor<T>& x) {
    return map(elu(_1) + 1.0, nn::split_heads(x, c.H));
  };
  return mixers::causal_linear_attention(features(q), features(k), nn::split_heads(v, c.H),
                                         {.normalize = true}, &state);
}

template <class T>
void run(bench::Report& report, const Case& c, bool with_composition) {
  const std::string shape = fmt::format(
      "{} B{} N{} H{} D{}", std::same_as<T, bf16> ? "bf16" : "fp32", c.B, c.N, c.H, c.D);
  if (!report.wanted("causal_fwd", shape) && !report.wanted("causal_bwd", shape) &&
      !report.wanted("causal_fwd_bwd", shape))
    return;
  const Shape tokens{c.B, c.N, c.H * c.D};
  auto q = bench::normal<T>(tokens), k = bench::normal<T>(tokens), v = bench::normal<T>(tokens);
  const auto dy = bench::normal<T>(tokens);
  auto y = empty<T>(tokens, Device::cuda), dq = empty<T>(tokens, Device::cuda);
  auto dk = empty<T>(tokens, Device::cuda), dv = empty<T>(tokens, Device::cuda);
  auto d = empty<float>({c.B, c.H, c.N}, Device::cuda);

  const HeadStrides strides{c.N * c.H * c.D, c.D, c.H * c.D};
  CausalLinearBackwardParams<T> b;
  CausalLinearParams<T>& p = b.f;
  p.B = c.B, p.H = c.H, p.N = c.N, p.E = p.D = c.D;
  p.normalize = true, p.epsilon = 1e-6f, p.feature = Feature::elu;
  p.q = q.data(), p.k = k.data(), p.v = v.data(), p.y = y.mutable_data();
  p.d = d.mutable_data();
  p.qs = p.ks = p.vs = p.ys = strides;
  b.dy = dy.data(), b.dys = strides;
  b.dq = dq.mutable_data(), b.dk = dk.mutable_data(), b.dv = dv.mutable_data();
  b.dqs = b.dks = b.dvs = strides;
  b.dq_mode = b.dk_mode = b.dv_mode = GradMode::overwrite;

  const Backend<T>& gpu = backend<T>(Device::cuda);
  gpu.causal_linear(p);  // so that a backward alone has results to start from
  report.time("causal_fwd", shape, c.work<T>(4, 2, 2), [&] { gpu.causal_linear(p); });
  // Backward reads q, k, v, y, dy and writes dq, dk, dv.
  report.time("causal_bwd", shape, c.work<T>(8, 5, 5), [&] { gpu.causal_linear_backward(b); });
  report.time("causal_fwd_bwd", shape, c.work<T>(12, 7, 7), [&] {
    gpu.causal_linear(p);
    gpu.causal_linear_backward(b);
  });
  if (!with_composition) return;
  report.time(
      "causal_fwd", shape, c.work<T>(4, 2, 2),
      [&] {
        NoGrad scope;
        composition(c, q, k, v);
      },
      "flr-composition");
  for (Tensor<T>* t : {&q, &k, &v}) t->requires_grad(true);
  const auto seed = nn::split_heads(dy, c.H);
  report.time(
      "causal_fwd_bwd", shape, c.work<T>(12, 7, 7),
      [&] {
        for (Tensor<T>* t : {&q, &k, &v}) t->zero_grad();
        backward(composition(c, q, k, v), seed);
      },
      "flr-composition");
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    run<bf16>(report, {32, 2000, 8, 16}, true);  // Long Range Arena
    run<float>(report, {32, 2000, 8, 16}, true);
    for (const index_t D : {16, 32, 64}) {
      run<bf16>(report, {1, 16384, 8, D}, true);
      run<bf16>(report, {1, 1'000'000, 8, D}, false);
    }
    for (const index_t D : {16, 64}) run<float>(report, {1, 16384, 8, D}, true);
    run<float>(report, {1, 1'000'000, 8, 16}, false);
  });
}
