// Mixers whose states are sums of outer products, on the GPU: triple and quad attention, and those
// with a state of second order. Tokens lie as a network has them, [B,N,H·D]. The peer is
// bench/peer/cuda_triple.py.
//
// …_fwd and …_fwd_bwd are the table's calls that a mixer makes in a network, where queries, keys
// and values are results of layers; …_graph goes through the graph with leaves, whose gradients are
// collected in float, and so has more memory to move. With FLR_MIXER=composition …_graph is the
// composition of simple operations.
#include "cuda_bench.hpp"
#include "flr/mixers.hpp"

namespace {

using namespace flr;

template <class T>
const char* precision = std::same_as<T, bf16> ? "bf16" : "fp32";

/// What state and read need: `factors` queries and as many keys, v, dy, and places for all
/// gradients.
template <class T>
struct Outer {
  index_t N, H, D;
  int factors;
  std::vector<Tensor<T>> queries, keys, gradients;  ///< with dy, with v; of all of them but dy
  Tensor<T> y, state, state_gradient;
  OuterStateParams<T> sum, sum_back;
  OuterReadParams<T> read, query_back, key_back;

  Outer(index_t n, index_t h, index_t d, int m) : N(n), H(h), D(d), factors(m) {
    const Shape tokens{1, N, H * D};
    for (int i = 0; i <= m; ++i)
      queries.push_back(bench::normal<T>(tokens)), keys.push_back(bench::normal<T>(tokens));
    for (int i = 0; i < 2 * m + 1; ++i) gradients.push_back(empty<T>(tokens, Device::cuda));
    y = empty<T>(tokens, Device::cuda);
    index_t features = 1;
    for (int i = 0; i < m; ++i) features *= D;
    state = empty<T>({1, H, features, D}, Device::cuda), state_gradient = state.clone();
    describe(sum, keys), describe(sum_back, queries), describe(key_back, keys);
    describe(read, queries), describe(query_back, queries);
    sum.scale = key_back.scale = compute_t<T>(1) / compute_t<T>(N);
    sum.state = state.mutable_data(), sum_back.state = state_gradient.mutable_data();
    read.state = query_back.state = state.data(), key_back.state = state_gradient.data();
    place(read, m, y);
    for (int a = 0; a < m; ++a) place(query_back, a, gradients[std::size_t(a)]);
    for (int a = 0; a <= m; ++a) place(key_back, a, gradients[std::size_t(m + a)]);
  }

  HeadStrides strides() const { return {N * H * D, D, H * D}; }
  void describe(OuterOperands<T>& p, const std::vector<Tensor<T>>& x) const {
    p.B = 1, p.H = H, p.N = N, p.D = D, p.operands = factors + 1;
    for (int a = 0; a <= factors; ++a) p.x[a] = x[std::size_t(a)].data(), p.xs[a] = strides();
  }
  void place(OuterReadParams<T>& p, int axis, Tensor<T>& at) const {
    p.y[axis] = at.mutable_data(), p.ys[axis] = strides(), p.mode[axis] = GradMode::overwrite;
  }

  /// `tokens`: how often N·H·D values are read or written; `passes`: products with a state.
  bench::Work work(double tokens, double passes) const {
    const double values = double(N) * double(H) * double(D);
    bench::Work w;
    w.bytes = tokens * values * sizeof(T);
    w.flops = passes * 2 * values * double(state.size(2));
    w.flops_per_s = bench::flops_per_second<T>();
    return w;
  }
};

template <class T>
void run(bench::Report& report, const std::string& name, index_t N, index_t D, int factors) {
  constexpr index_t H = 8;
  const std::string shape = fmt::format("{} N{} H{} D{}", precision<T>, N, H, D);
  bool any = false;
  for (const char* part : {"_fwd", "_fwd_bwd", "_state", "_read", "_bwd"})
    any = any || report.wanted(name + part, shape);
  if (!any) return;
  const Backend<T>& gpu = backend<T>(Device::cuda);
  const Outer<T> x(N, H, D, factors);
  const auto forward = [&] { gpu.outer_state(x.sum), gpu.outer_read(x.read); };
  const auto backward = [&] {
    gpu.outer_state(x.sum_back), gpu.outer_read(x.query_back), gpu.outer_read(x.key_back);
  };
  forward(), backward();
  const double m = factors, ahead = 2 * (m + 1), back = 5 * m + 4;
  report.time(name + "_fwd", shape, x.work(ahead, 2), forward);
  report.time(name + "_fwd_bwd", shape, x.work(ahead + back, 2 + 2 * m + 2),
              [&] { forward(), backward(); });
  report.time(name + "_state", shape, x.work(m + 1, 1), [&] { gpu.outer_state(x.sum); });
  report.time(name + "_read", shape, x.work(m + 1, 1), [&] { gpu.outer_read(x.read); });
  report.time(name + "_bwd", shape, x.work(back, 2 * m + 2), backward);
}

/// A mixer on heads through the graph; f takes them as a vector.
template <class T, class F>
void run_graph(bench::Report& report, const std::string& name, index_t N, index_t D, int operands,
               F&& f) {
  constexpr index_t H = 8;
  const std::string shape = fmt::format("{} N{} H{} D{}", precision<T>, N, H, D);
  if (!report.wanted(name, shape)) return;
  std::vector<Tensor<T>> x;
  for (int i = 0; i < operands; ++i)
    x.push_back(bench::normal<T>({1, N, H * D}).requires_grad(true));
  const auto dy = nn::split_heads(bench::normal<T>({1, N, H * D}), H);
  report.time(name, shape, {}, [&] {
    std::vector<Tensor<T>> heads;
    for (Tensor<T>& t : x) t.zero_grad(), heads.push_back(nn::split_heads(t, H));
    backward(f(heads), dy);
  });
}

template <class T>
void run_graphs(bench::Report& report, index_t N, index_t D) {
  using Heads = std::vector<Tensor<T>>;
  if (D <= 32)
    run_graph<T>(report, "triple_graph", N, D, 5, [](const Heads& h) {
      return mixers::triple_attention(h[0], h[1], h[2], h[3], h[4]);
    });
  run_graph<T>(report, "multilinear_graph", N, D, 5, [](const Heads& h) {
    return mixers::multilinear_attention<T>(h[0], {h[1], h[2]}, {h[3], h[4]});
  });
  std::array<Tensor<T>, 4> gates;
  for (Tensor<T>& g : gates) g = bench::normal<T>({8});
  run_graph<T>(report, "strassen_graph", N, D, 5, [&](const Heads& h) {
    return mixers::strassen_linear_attention(h[0], h[1], h[2], h[3], h[4], gates);
  });
}

template <class T>
void run_all(bench::Report& report) {
  constexpr index_t N = 65'536;
  for (const index_t D : {16, 32, 8}) run<T>(report, "triple", N, D, 2);
  for (const index_t D : {8, 16}) run<T>(report, "quad", N, D, 3);
  for (const index_t D : {8, 16, 32, 64}) run<T>(report, "outer1", N, D, 1);
  for (const index_t D : {16, 32}) run_graphs<T>(report, N, D);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    run_all<bf16>(report);
    run_all<float>(report);
  });
}
