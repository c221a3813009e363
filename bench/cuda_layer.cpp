// One FLARE layer on the GPU, forward and backward, as the paper's figure has it: C=128, H=8, K/V
// projections of depth 3, M = 128, 512, 2048, N from 1k to 1M; softmax attention and physics
// attention (64 slices) beside it. The peer is bench/peer/cuda_layer.py; bench/layer_figure draws both.
#include "cuda_bench.hpp"
#include "physics_attention.hpp"

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

/// A layer between others: its input has a gradient too. `exponentials`: of attention, forward
/// and backward; products of 7 · 2 · D operations go with every two.
template <class T, class Layer>
void run(bench::Report& report, const char* name, const std::string& shape, index_t N, Layer& layer,
         double exponentials = 0) {
  if (!report.wanted(name, shape)) return;
  layer.to(Device::cuda);
  if constexpr (std::same_as<T, bf16>) layer.keep_bf16();
  auto x = bench::normal<T>({1, N, C});
  const auto dy = bench::normal<T>({1, N, C});
  x.requires_grad(true);
  bench::Work least;
  least.bytes = 4.0 * double(N) * double(C) * sizeof(T);  // x and dy in, y and dx out
  least.exponentials = exponentials;
  least.flops = exponentials / 2 * 14 * double(C / H);
  least.flops_per_s = bench::flops_per_second<T>();
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
         layer, 4 * double(N) * double(M) * double(H));
}

/// The paper's figure: softmax attention and physics attention as layers of the same width.
template <class T>
void others(bench::Report& report, index_t N) {
  const std::string shape = fmt::format("{} N{} C{} H{}", type_name<T>(), N, C, H);
  if (N <= 131'072) {  // beyond, N² exponentials take minutes
    mixers::SelfAttention<float> layer(C, H);
    run<T>(report, "softmax_layer", shape, N, layer, 2 * double(N) * double(N) * double(H));
  }
  constexpr index_t G = 64;
  bench::PhysicsAttention<float> layer(C, H, G);
  run<T>(report, "physics_layer", fmt::format("{} G{}", shape, G), N, layer);
}

template <class T>
void figure(bench::Report& report) {
  for (const index_t N : {1'024, 4'096, 16'384, 65'536, 131'072, 262'144, 1'048'576}) {
    for (const index_t M : {128, 512, 2048}) flare<T>(report, N, M);
    others<T>(report, N);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    manual_seed(0);
    figure<bf16>(report);
    figure<float>(report);
  });
}
