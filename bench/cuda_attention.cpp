// Scaled dot-product attention on the GPU, in bf16 and in float with products of tf32:
// self-attention and few queries against many keys, forward alone and with backward. Tokens lie as
// a network has them, [B,N,H·D]. The peer is bench/peer/cuda_attention.py. With FLR_SDPA=flare,
// tensor or general (kernels/sdpa.cu) rows are called flr-flare, flr-tensor or flr-general.
#include "cuda_bench.hpp"
#include "flr/core/precision.hpp"

namespace {

using namespace flr;

struct Case {
  index_t B, Nq, Nk, H, D;
  bool causal = false;

  template <class T>
  std::string shape() const {
    const std::string tokens = Nq == Nk ? fmt::format("N{}", Nq) : fmt::format("Nq{} Nk{}", Nq, Nk);
    return fmt::format("{} B{} {} H{} D{}{}", std::same_as<T, bf16> ? "bf16" : "tf32", B, tokens, H,
                       D, causal ? " causal" : "");
  }
  /// `tokens`: how often the values of a query and of a key are read or written.
  template <class T>
  bench::Work work(double of_queries, double of_keys, double exponentials, double products) const {
    const double heads = double(B * H);
    const double scores = heads * double(Nq) * double(Nk) * (causal ? 0.5 : 1);
    bench::Work w;
    w.bytes = heads * double(D) * sizeof(T) * (of_queries * double(Nq) + of_keys * double(Nk));
    w.exponentials = exponentials * scores;
    w.flops = products * 2 * scores * double(D);
    w.flops_per_s = std::same_as<T, bf16> ? 800e12 : 400e12;
    return w;
  }
};

template <class T>
void run(bench::Report& report, const Case& c) {
  const std::string shape = c.shape<T>();
  if (!report.wanted("attention_fwd", shape) && !report.wanted("attention_bwd", shape) &&
      !report.wanted("attention_fwd_bwd", shape))
    return;
  const char* kernels = std::getenv("FLR_SDPA");
  const std::string impl = kernels ? fmt::format("flr-{}", kernels) : "flr";
  const Shape queries{c.B, c.Nq, c.H * c.D}, keys{c.B, c.Nk, c.H * c.D};
  auto q = bench::normal<T>(queries), k = bench::normal<T>(keys);
  auto v = bench::normal<T>(keys), dy = bench::normal<T>(queries);
  auto y = empty<T>(queries, Device::cuda), dq = empty<T>(queries, Device::cuda);
  auto dk = empty<T>(keys, Device::cuda), dv = empty<T>(keys, Device::cuda);
  auto lse = empty<float>({c.B, c.H, c.Nq}, Device::cuda);

  const auto strides = [&](index_t N) { return HeadStrides{N * c.H * c.D, c.D, c.H * c.D}; };
  SdpaParams<T> p;
  p.B = c.B, p.H = c.H, p.Nq = c.Nq, p.Nk = c.Nk, p.D = p.Dv = c.D;
  p.scale = 1 / std::sqrt(float(c.D)), p.causal = c.causal;
  p.q = q.data(), p.k = k.data(), p.v = v.data(), p.o = y.mutable_data();
  p.qs = p.os = strides(c.Nq), p.ks = p.vs = strides(c.Nk);
  p.lse = lse.mutable_data();
  SdpaBackwardParams<T> b;
  b.f = p, b.dout = dy.data(), b.dos = strides(c.Nq);
  b.dq = dq.mutable_data(), b.dk = dk.mutable_data(), b.dv = dv.mutable_data();
  b.dqs = strides(c.Nq), b.dks = b.dvs = strides(c.Nk);
  b.dq_mode = b.dk_mode = b.dv_mode = GradMode::overwrite;

  const Backend<T>& gpu = backend<T>(Device::cuda);
  gpu.sdpa(p);  // so that a backward alone has results to start from
  report.time(
      "attention_fwd", shape, c.work<T>(2, 2, 1, 2), [&] { gpu.sdpa(p); }, impl);
  // Backward reads q, y, dy, k, v and writes dq, dk, dv.
  report.time(
      "attention_bwd", shape, c.work<T>(4, 4, 1, 5), [&] { gpu.sdpa_backward(b); }, impl);
  report.time(
      "attention_fwd_bwd", shape, c.work<T>(6, 6, 2, 7),
      [&] {
        gpu.sdpa(p);
        gpu.sdpa_backward(b);
      },
      impl);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    run<bf16>(report, {32, 2000, 2000, 8, 16});  // the transformer of Long Range Arena
    run<bf16>(report, {32, 2000, 2000, 8, 16, true});
    for (const index_t D : {8, 16, 32, 64, 128}) {
      run<bf16>(report, {1, 1024, 1024, 8, D});
      run<bf16>(report, {1, 16384, 16384, 8, D});
      run<bf16>(report, {4, 4096, 4096, 8, D, true});
      run<bf16>(report, {1, 64, 1'000'000, 8, D});
    }
    for (const index_t D : {16, 64}) run<bf16>(report, {1, 100'000, 100'000, 8, D});
    set_matmul_precision(MatmulPrecision::tf32);
    run<float>(report, {32, 2000, 2000, 8, 16});
    for (const index_t D : {8, 16, 32, 64}) run<float>(report, {1, 16384, 16384, 8, D});
  });
}
