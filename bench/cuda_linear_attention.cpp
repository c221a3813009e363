// Linear attention and the performer on the GPU, forward and backward. Tokens lie as a network has
// them, [B,N,H·D]. The peer is bench/peer/cuda_linear_attention.py.
//
// linear_fwd and linear_fwd_bwd are the calls that the operation makes in a network, where queries, keys
// and values are results of a layer; linear_graph goes through the graph with one tensor of all three
// as a leaf, as the fused operation or (flr-composition) as what stands for it elsewhere; performer_graph
// the same with 256 FAVOR+ features.
#include "cuda_bench.hpp"

namespace {

using namespace flr;

/// `tokens`: how often the N·H·D values of T are read or written.
template <class T>
bench::Work work(index_t N, index_t H, index_t D, double tokens, double products) {
  const double n = double(N) * double(H) * double(D);
  bench::Work w;
  w.bytes = tokens * n * sizeof(T);
  w.exponentials = tokens / 3 * n;
  w.flops = products * 2 * n * double(D);
  w.flops_per_s = bench::flops_per_second<T>();
  return w;
}

template <class T>
std::string shape_of(index_t N, index_t H, index_t D) {
  return fmt::format("{} N{} H{} D{}", std::same_as<T, bf16> ? "bf16" : "fp32", N, H, D);
}

template <class T>
void run(bench::Report& report, index_t N, index_t H, index_t D) {
  const std::string shape = shape_of<T>(N, H, D);
  if (!report.wanted("linear_fwd", shape) && !report.wanted("linear_fwd_bwd", shape)) return;
  const Shape tokens{1, N, H * D};
  const auto q = bench::normal<T>(tokens), k = bench::normal<T>(tokens), v = bench::normal<T>(tokens),
             dy = bench::normal<T>(tokens);
  auto y = empty<T>(tokens, Device::cuda), dq = empty<T>(tokens, Device::cuda);
  auto dk = empty<T>(tokens, Device::cuda), dv = empty<T>(tokens, Device::cuda);
  auto state = empty<compute_t<T>>({1, H, D, D + 1}, Device::cuda);
  LinearAttentionParams<T> p;
  p.B = 1, p.H = H, p.Nq = p.Nk = N, p.D = D;
  p.feature = Feature::elu, p.epsilon = 1e-6f;
  p.q = q.data(), p.k = k.data(), p.v = v.data();
  p.y = y.mutable_data(), p.state = state.mutable_data();
  p.qs = p.ks = p.vs = p.ys = {0, D, H * D};
  LinearAttentionBackwardParams<T> b;
  b.f = p, b.dy = dy.data(), b.dys = p.qs;
  b.dq = dq.mutable_data(), b.dk = dk.mutable_data(), b.dv = dv.mutable_data();
  b.dqs = b.dks = b.dvs = p.qs;
  b.dq_mode = b.dk_mode = b.dv_mode = GradMode::overwrite;
  const Backend<T>& gpu = backend<T>(Device::cuda);
  report.time("linear_fwd", shape, work<T>(N, H, D, 4, 2), [&] { gpu.linear_attention(p); });
  report.time("linear_fwd_bwd", shape, work<T>(N, H, D, 4 + 7, 2 + 4),
              [&] { gpu.linear_attention(p), gpu.linear_attention_backward(b); });
}

/// q, k, v of a network: one tensor, cut in three.
template <class T, class F>
void run_graph(bench::Report& report, const std::string& name, const std::string& impl, index_t N,
               index_t H, index_t D, F mixer) {
  const std::string shape = shape_of<T>(N, H, D);
  if (!report.wanted(name, shape)) return;
  auto qkv = bench::normal<T>({1, N, 3 * H * D}).requires_grad(true);
  const auto dy = nn::split_heads(bench::normal<T>({1, N, H * D}), H);
  report.time(name, shape, work<T>(N, H, D, 4 + 7, 2 + 4), [&] {
    qkv.zero_grad();
    const auto [q, k, v] = nn::split_qkv(qkv, H);
    backward(mixer(q, k, v), dy);
  }, impl);
}

template <class T>
void run_graphs(bench::Report& report, index_t N, index_t H, index_t D) {
  using X = const Tensor<T>&;
  run_graph<T>(report, "linear_graph", "flr", N, H, D, [](X q, X k, X v) {
    return fused_linear_attention(q, k, v, {.feature = Feature::elu});
  });
  run_graph<T>(report, "linear_graph", "flr-composition", N, H, D, [](X q, X k, X v) {
    const Tensor<T> f = map(elu(_1) + 1.0, q), g = map(elu(_1) + 1.0, k);
    const Tensor<T> y = matmul(f, matmul(transpose(g, -1, -2), v));
    return map(_1 / (_2 + 1e-6), y, matmul(f, transpose(sum(g, {2}, true), -1, -2)));
  });
  const auto rows = mixers::favor_rows<compute_t<T>>(H, 256, D).to(Device::cuda);
  if (N <= 100'000)
    run_graph<T>(report, "performer_graph", "flr", N, H, D,
                 [&](X q, X k, X v) { return mixers::performer(q, k, v, rows); });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    for (const index_t D : {16, 8, 32, 64}) run<bf16>(report, 1'000'000, 8, D);
    for (const index_t D : {16, 32}) run<float>(report, 1'000'000, 8, D);
    run<bf16>(report, 16'384, 8, 64);
    run_graphs<bf16>(report, 1'000'000, 8, 16);
    run_graphs<bf16>(report, 65'536, 8, 16);
    run_graphs<float>(report, 65'536, 8, 16);
  });
}
