// FLARE's mixer alone on the GPU: both hops, each by itself and together, forward and backward.
// Tokens lie as a network has them, [B,N,H·D]. The peer is bench/peer/cuda_mixer.py.
//
// mixer_fwd and mixer_fwd_bwd are the calls that flare_mixer makes in a network, where keys and
// values are results of layers; mixer_graph goes through the graph with keys and values as leaves,
// whose gradients are collected in float, and so has more memory to move.
#include "cuda_bench.hpp"
#include "flr/core/precision.hpp"

namespace {

using namespace flr;

/// Tensors and parameters of both hops.
template <class T>
struct Mixer {
  index_t N, H, D, M;
  Tensor<T> q, k, v, z, y, dq, dk, dv, dz, dy;
  Tensor<compute_t<T>> lse_z, lse_y;
  SdpaParams<T> encode, decode;
  SdpaBackwardParams<T> encode_back, decode_back;
  FlareBackwardParams<T> back;
  bool together;  ///< whether the backend has one backward pass for both hops

  Mixer(index_t n, index_t h, index_t d, index_t m) : N(n), H(h), D(d), M(m) {
    const Shape tokens{1, N, H * D}, latents{1, H, M, D};
    q = bench::normal<T>(latents), k = bench::normal<T>(tokens), v = bench::normal<T>(tokens);
    dy = bench::normal<T>(tokens), dz = bench::normal<T>({1, M, H, D});
    y = empty<T>(tokens, Device::cuda), z = empty<T>({1, M, H, D}, Device::cuda);
    dk = empty<T>(tokens, Device::cuda), dv = empty<T>(tokens, Device::cuda);
    dq = empty<T>(latents, Device::cuda);
    lse_z = empty<compute_t<T>>({1, H, M}, Device::cuda);
    lse_y = empty<compute_t<T>>({1, H, N}, Device::cuda);

    const HeadStrides token{0, D, H * D}, latent{0, M * D, D}, between{0, D, H * D};
    encode.B = 1, encode.H = H, encode.Nq = M, encode.Nk = N, encode.D = encode.Dv = D;
    decode = encode;
    decode.Nq = N, decode.Nk = M;
    encode.q = q.data(), encode.k = k.data(), encode.v = v.data(), encode.o = z.mutable_data();
    encode.qs = latent, encode.ks = encode.vs = token, encode.os = between;
    encode.lse = lse_z.mutable_data();
    decode.q = k.data(), decode.k = q.data(), decode.v = z.data(), decode.o = y.mutable_data();
    decode.qs = decode.os = token, decode.ks = latent, decode.vs = between;
    decode.lse = lse_y.mutable_data();

    decode_back.f = decode, encode_back.f = encode;
    decode_back.dout = dy.data(), decode_back.dos = token;
    decode_back.dq = dk.mutable_data(), decode_back.dqs = token;
    decode_back.dk = dq.mutable_data(), decode_back.dks = latent;
    decode_back.dv = dz.mutable_data(), decode_back.dvs = between;
    decode_back.dq_mode = decode_back.dk_mode = decode_back.dv_mode = GradMode::overwrite;
    encode_back.dout = dz.data(), encode_back.dos = between;
    encode_back.dq = dq.mutable_data(), encode_back.dqs = latent;
    encode_back.dk = dk.mutable_data(), encode_back.dks = token;
    encode_back.dv = dv.mutable_data(), encode_back.dvs = token;
    encode_back.dq_mode = encode_back.dk_mode = GradMode::accumulate;
    encode_back.dv_mode = GradMode::overwrite;

    FlareParams<T>& f = back.f;
    f.B = 1, f.H = H, f.M = M, f.N = N, f.D = D;
    f.q = q.data(), f.k = k.data(), f.v = v.data(), f.z = z.data(), f.y = y.data();
    f.qs = latent, f.ks = f.vs = f.ys = token, f.zs = between;
    f.lse_z = lse_z.data(), f.lse_y = lse_y.data();
    back.dy = dy.data(), back.dys = token;
    back.dq = dq.mutable_data(), back.dk = dk.mutable_data(), back.dv = dv.mutable_data();
    back.dqs = latent, back.dks = back.dvs = token;
    back.dq_mode = back.dk_mode = back.dv_mode = GradMode::overwrite;
    std::string why;
    together = backend<T>(Device::cuda).supports_flare(f, &why);
  }

  /// `tokens`: how often the N·H·D values of T are read or written.
  bench::Work work(double tokens, double exponentials, double products) const {
    const double n = double(N) * double(H), scores = n * double(M);
    bench::Work w;
    w.bytes = tokens * n * double(D) * sizeof(T);
    w.exponentials = exponentials * scores;
    w.flops = products * 2 * scores * double(D);
    w.flops_per_s = bench::flops_per_second<T>();
    return w;
  }
};

/// What T is multiplied in.
template <class T>
const char* products() {
  if (std::same_as<T, bf16>) return "bf16";
  return matmul_precision() == MatmulPrecision::tf32 ? "tf32" : "fp32";
}

template <class T>
void run(bench::Report& report, index_t N, index_t H, index_t D, index_t M) {
  const std::string shape = fmt::format("{} N{} H{} D{} M{}", products<T>(), N, H, D, M);
  bool any = false;
  for (const char* name : {"mixer_fwd", "mixer_fwd_bwd", "mixer_bwd", "mixer_graph", "encode", "decode",
                           "encode_bwd", "decode_bwd"})
    any = any || report.wanted(name, shape);
  if (!any) return;

  const Backend<T>& gpu = backend<T>(Device::cuda);
  const Mixer<T> x(N, H, D, M);
  const auto forward = [&] { gpu.sdpa(x.encode), gpu.sdpa(x.decode); };
  forward();  // so that a backward alone has results to start from
  report.time("mixer_fwd", shape, x.work(4, 2, 4), forward);
  const auto backward = [&] {
    if (x.together) return gpu.flare_backward(x.back);
    gpu.sdpa_backward(x.decode_back), gpu.sdpa_backward(x.encode_back);
  };
  // Backward reads k, dy for the latents' gradient, then k, v, dy, y, and writes dk and dv.
  report.time("mixer_fwd_bwd", shape, x.work(4 + 8, 4, 4 + 8), [&] { forward(), backward(); });
  report.time("mixer_bwd", shape, x.work(8, 2, 8), backward);
  report.time("encode", shape, x.work(2, 1, 2), [&] { gpu.sdpa(x.encode); });
  report.time("decode", shape, x.work(2, 1, 2), [&] { gpu.sdpa(x.decode); });
  report.time("decode_bwd", shape, x.work(4, 1, 5), [&] { gpu.sdpa_backward(x.decode_back); });
  report.time("encode_bwd", shape, x.work(5, 1, 5), [&] { gpu.sdpa_backward(x.encode_back); });
}

template <class T>
void run_graph(bench::Report& report, index_t N, index_t H, index_t D, index_t M) {
  const std::string shape = fmt::format("{} N{} H{} D{} M{}", products<T>(), N, H, D, M);
  if (!report.wanted("mixer_graph", shape)) return;
  auto q = bench::normal<T>({H, M, D}), k = bench::normal<T>({1, N, H * D});
  auto v = bench::normal<T>({1, N, H * D});
  const auto dy = nn::split_heads(bench::normal<T>({1, N, H * D}), H);
  for (Tensor<T>* t : {&q, &k, &v}) t->requires_grad(true);
  report.time("mixer_graph", shape, {}, [&] {
    for (Tensor<T>* t : {&q, &k, &v}) t->zero_grad();
    backward(flare_mixer(q, nn::split_heads(k, H), nn::split_heads(v, H)), dy);
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    constexpr index_t N = 1'000'000, H = 8;
    for (const index_t D : {8, 16, 32, 64})
      for (const index_t M : {64, 128, 512, 2048}) run<bf16>(report, N, H, D, M);
    for (const index_t D : {8, 16})
      for (const index_t M : {128, 2048}) run_graph<bf16>(report, N, H, D, M);
    for (const index_t M : {128, 2048}) run<bf16>(report, N, H, 128, M);
    for (const auto precision : {MatmulPrecision::fp32, MatmulPrecision::tf32}) {
      set_matmul_precision(precision);
      for (const index_t D : {8, 16, 32, 64})
        for (const index_t M : {64, 128, 512, 2048})
          if (D <= 16 || M == 128) run<float>(report, N, H, D, M);
      run<float>(report, 972, 8, 8, 64);     // elasticity
      run<float>(report, 7225, 16, 4, 256);  // Darcy
    }
    set_matmul_precision(MatmulPrecision::fp32);
  });
}
