// One FLARE layer on the GPU, forward and backward, as the paper's figure has it: C=128, H=8, K/V
// projections of depth 3, M = 128, 512, 2048; softmax attention beside it where it can be borne.
// The peer is bench/peer/cuda_layer.py.
#include "cuda_bench.hpp"

namespace {

using namespace flr;

constexpr index_t C = 128, H = 8;

/// What a layer before would do with the gradient it is given, which is nothing: no leaf collects it.
template <class T>
Tensor<T> result_of_a_layer(const Tensor<T>& x) {
  Tensor<T> y = x.detach();
  record("input", y, Inputs(x), [](Backward& b) { b.grad_strided<T>(); });
  return y;
}

/// A layer between others: its input has a gradient too.
template <class T, class Layer>
void run(bench::Report& report, const char* name, const std::string& shape, index_t N, Layer& layer) {
  if (!report.wanted(name, shape)) return;
  layer.to(Device::cuda);
  if constexpr (std::same_as<T, bf16>) layer.keep_bf16();
  auto x = bench::normal<T>({1, N, C});
  const auto dy = bench::normal<T>({1, N, C});
  x.requires_grad(true);
  bench::Work least;
  least.bytes = 4.0 * double(N) * double(C) * sizeof(T);  // x and dy in, y and dx out
  report.time(name, shape, least, [&] {
    for (auto& entry : layer.arena().entries) entry.value.zero_grad();
    backward(layer(result_of_a_layer(x)), dy);
  });
}

template <class T>
const char* type_name() {
  return std::same_as<T, bf16> ? "bf16" : "fp32";
}

template <class T>
void flare(bench::Report& report, index_t N, index_t M) {
  mixers::FlareOptions o;
  o.channels = C, o.heads = H, o.latents = M, o.k_layers = o.v_layers = 3;
  mixers::Flare<float> layer(o);
  run<T>(report, "flare_layer", fmt::format("{} N{} C{} H{} M{}", type_name<T>(), N, C, H, M), N,
         layer);
}

/// Softmax attention alone, between the projections that both layers have.
template <class T>
void softmax_attention(bench::Report& report, index_t N) {
  const std::string shape = fmt::format("{} N{} C{} H{}", type_name<T>(), N, C, H);
  if (!report.wanted("softmax_attention", shape)) return;
  std::vector<Tensor<T>> x;
  for (int i = 0; i < 3; ++i) x.push_back(bench::normal<T>({1, N, C}).requires_grad(true));
  const auto dy = nn::split_heads(bench::normal<T>({1, N, C}), H);
  const double scores = double(N) * double(N) * double(H);
  bench::Work w;
  w.bytes = 8.0 * double(N) * double(C) * sizeof(T), w.exponentials = 2 * scores;
  w.flops = 7 * 2 * scores * double(C / H), w.flops_per_s = bench::flops_per_second<T>();
  report.time("softmax_attention", shape, w, [&] {
    for (auto& t : x) t.zero_grad();
    backward(sdpa(nn::split_heads(x[0], H), nn::split_heads(x[1], H), nn::split_heads(x[2], H)), dy);
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    manual_seed(0);
    for (const index_t N : {1'000, 100'000, 1'000'000})
      for (const index_t M : {128, 512, 2048}) flare<bf16>(report, N, M);
    for (const index_t N : {1'000, 100'000, 1'000'000})
      for (const index_t M : {128, 512, 2048}) flare<float>(report, N, M);
    softmax_attention<bf16>(report, 100'000);
  });
}
