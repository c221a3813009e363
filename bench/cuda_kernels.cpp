// The other kernels of the CUDA backend. Most are bound by memory: compare their TB/s with those of
// the plain copy that stands first, from the same run.
#include <array>

#include "cuda_bench.hpp"

namespace {

using namespace flr;

constexpr index_t rows = 1'000'000;

template <class T>
const char* type_name() {
  return std::same_as<T, bf16> ? "bf16" : "fp32";
}

template <class T>
Tensor<T> room(const Shape& shape) {
  return zeros<T>(shape, Device::cuda);
}

/// Reads and writes of so many values of T.
template <class T>
bench::Work values(double count) {
  bench::Work w;
  w.bytes = count * sizeof(T);
  return w;
}

void memory_copy(bench::Report& report) {
  constexpr index_t bytes = index_t{1} << 30;
  auto from = room<float>({bytes / 4}), to = room<float>({bytes / 4});
  bench::Work w;
  w.bytes = 2.0 * double(bytes);
  report.time("memcpy", "1 GiB", w, [&] {
    detail::require_cuda().copy(to.mutable_data(), Device::cuda, from.data(), Device::cuda, bytes);
  });
}

template <class T>
void copies_and_maps(bench::Report& report, index_t cols) {
  NoGrad scope;
  const std::string shape = fmt::format("{} {}x{}", type_name<T>(), rows, cols);
  const double n = double(rows) * double(cols);
  auto x = bench::normal<T>({rows, cols}), z = bench::normal<T>({rows, cols});
  auto y = room<T>({rows, cols});
  report.time("copy", shape, values<T>(2 * n), [&] { y.copy_(x); });
  const auto heads = nn::split_heads(reshape(x, {1, rows, cols}), 8);
  auto split = room<T>({1, 8, rows, cols / 8});
  report.time("copy_heads", shape, values<T>(2 * n), [&] { split.copy_(heads); });
  report.time("map_add", shape, values<T>(3 * n), [&] { x + z; });
  report.time("map_gelu", shape, values<T>(2 * n), [&] { gelu_tanh(x); });
  report.time("sum", shape, values<T>(n), [&] { sum(x); });
  report.time("sum_rows", shape, values<T>(n), [&] { sum(x, {0}); });
}

template <class T>
void norms(bench::Report& report, index_t cols, index_t rows = ::rows) {
  using C = compute_t<T>;
  const Backend<T>& gpu = backend<T>(Device::cuda);
  const std::string shape = fmt::format("{} {}x{}", type_name<T>(), rows, cols);
  const double n = double(rows) * double(cols);
  auto x = bench::normal<T>({rows, cols}), dy = bench::normal<T>({rows, cols});
  auto y = room<T>({rows, cols});
  auto w = bench::normal<C>({cols}), b = bench::normal<C>({cols});
  auto mean = room<C>({rows}), rstd = room<C>({rows}), dw = room<C>({cols}), db = room<C>({cols});
  NormParams<T> p;
  p.rows = rows, p.cols = cols, p.eps = 1e-5f;
  p.x = x.data(), p.w = w.data(), p.b = b.data(), p.y = y.mutable_data();
  p.mean = mean.mutable_data(), p.rstd = rstd.mutable_data();
  gpu.norm(p);
  report.time("norm", shape, values<T>(2 * n), [&] { gpu.norm(p); });
  auto sum = room<T>({rows, cols});
  NormParams<T> a = p;
  a.add = dy.data(), a.sum = sum.mutable_data();
  report.time("norm_of_sum", shape, values<T>(4 * n), [&] { gpu.norm(a); });
  NormBackwardParams<T> q;
  q.rows = rows, q.cols = cols;
  q.x = x.data(), q.dy = dy.data(), q.w = w.data(), q.mean = mean.data(), q.rstd = rstd.data();
  q.dx = y.mutable_data(), q.dw = dw.mutable_data(), q.db = db.mutable_data();
  q.dx_mode = q.dw_mode = q.db_mode = GradMode::overwrite;
  report.time("norm_bwd", shape, values<T>(3 * n), [&] { gpu.norm_backward(q); });

  SoftmaxParams<T> s;
  s.outer = rows, s.n = cols, s.x = x.data(), s.y = y.mutable_data();
  report.time("softmax", shape, values<T>(2 * n), [&] { gpu.softmax(s); });
  auto dx = room<T>({rows, cols});
  SoftmaxBackwardParams<T> t;
  t.outer = rows, t.n = cols, t.y = y.data(), t.dy = dy.data(), t.dx = dx.mutable_data();
  t.dx_mode = GradMode::overwrite;
  report.time("softmax_bwd", shape, values<T>(3 * n), [&] { gpu.softmax_backward(t); });
}

template <class T>
void losses(bench::Report& report) {
  using C = compute_t<T>;
  const Backend<T>& gpu = backend<T>(Device::cuda);
  const index_t samples = 8, len = 8'000'000;
  const double n = double(samples) * double(len);
  const std::string shape = fmt::format("{} {}x{}", type_name<T>(), samples, len);
  auto pred = bench::normal<T>({samples, len}), target = bench::normal<T>({samples, len});
  auto dpred = room<T>({samples, len});
  auto loss = room<C>({1}), norms = room<C>({samples, 2}), one = ones<C>({1}, Device::cuda);
  RelativeLossParams<T> p;
  p.samples = samples, p.len = len, p.pred = pred.data(), p.target = target.data();
  p.loss = loss.mutable_data(), p.norms = norms.mutable_data();
  gpu.relative_loss(p);
  report.time("relative_l2", shape, values<T>(2 * n), [&] { gpu.relative_loss(p); });
  RelativeLossBackwardParams<T> q;
  q.samples = samples, q.len = len, q.pred = pred.data(), q.target = target.data();
  q.norms = norms.data(), q.dloss = one.data(), q.dpred = dpred.mutable_data();
  q.dpred_mode = GradMode::overwrite;
  report.time("relative_l2_bwd", shape, values<T>(3 * n), [&] { gpu.relative_loss_backward(q); });
}

/// Layers of FLARE on a million points.
template <class T>
void layers(bench::Report& report, index_t width) {
  using C = compute_t<T>;
  const Backend<T>& gpu = backend<T>(Device::cuda);
  const std::string shape = fmt::format("{} {}x{}", type_name<T>(), rows, width);
  const double n = double(rows) * double(width);
  const auto work = [&](double moved, double products) {
    bench::Work w = values<T>(moved * n);
    w.flops = products * 2 * n * double(width), w.flops_per_s = bench::flops_per_second<T>();
    return w;
  };
  auto x = bench::normal<T>({rows, width}), dy = bench::normal<T>({rows, width});
  auto y = room<T>({rows, width});
  auto w = bench::normal<T>({5, width, width}), b = bench::normal<T>({5, width});
  auto dw = room<C>({5, width, width}), db = room<C>({5, width});

  report.time("linear", shape, work(2, 1), [&] {
    gpu.linear({rows, width, width, x.data(), w.data(), b.data(), Activation::identity,
                y.mutable_data(), nullptr});
  });
  report.time("linear_bwd", shape, work(3, 2), [&] {
    gpu.linear_backward({rows, width, width, x.data(), w.data(), nullptr, dy.data(),
                         Activation::identity, y.mutable_data(), dw.mutable_data(),
                         db.mutable_data(), GradMode::overwrite, GradMode::overwrite,
                         GradMode::overwrite});
  });

  ResidualMlpParams<T> p;
  p.rows = rows, p.in = p.hid = p.out = width, p.layers = 3;
  p.residual_in = p.residual_out = true;
  p.x = x.data(), p.y = y.mutable_data();
  ResidualMlpBackwardParams<T> q;
  q.rows = rows, q.in = q.hid = q.out = width, q.layers = 3;
  q.residual_in = q.residual_out = true;
  for (int l = 0; l < 5; ++l) {
    p.w[l] = q.w[l] = w.data() + l * width * width;
    p.b[l] = q.b[l] = b.data() + l * width;
    q.dw[l] = dw.mutable_data() + l * width * width;
    q.db[l] = db.mutable_data() + l * width;
    q.dw_mode[l] = q.db_mode[l] = GradMode::overwrite;
  }
  std::string why;
  if (!gpu.supports_residual_mlp(p, &why)) {
    fmt::print(stderr, "residual_mlp {}: {}\n", shape, why);
    return;
  }
  report.time("residual_mlp", shape, work(2, 5), [&] { gpu.residual_mlp(p); });
  Tensor<T> pre;
  if (gpu.mlp_saves_pre) {
    pre = room<T>({4, rows, width});
    p.pre = pre.mutable_data(), q.pre = pre.data();
    gpu.residual_mlp(p);
  }
  auto dx = room<T>({rows, width});
  q.x = x.data(), q.dy = dy.data(), q.dx = dx.mutable_data(), q.dx_mode = GradMode::overwrite;
  // Five products for the gradient of the activations, five for the weights', five to recompute.
  report.time("residual_mlp_bwd", shape, work(gpu.mlp_saves_pre ? 7 : 3, gpu.mlp_saves_pre ? 10 : 15),
              [&] { gpu.residual_mlp_backward(q); });
}

/// The transformer's feed-forward layer as Long Range Arena has it, and as two dense layers.
void feed_forward_layer(bench::Report& report) {
  const Backend<bf16>& gpu = backend<bf16>(Device::cuda);
  constexpr index_t rows = 64000, channels = 128, hidden = 512;
  const std::string shape = fmt::format("bf16 {}x{} hidden {}", rows, channels, hidden);
  const auto work = [](double moved, double products) {
    bench::Work w = values<bf16>(moved * double(rows * channels));
    w.flops = products * 2 * double(rows) * double(channels * hidden);
    w.flops_per_s = bench::flops_per_second<bf16>();
    return w;
  };
  auto x = bench::normal<bf16>({rows, channels}), dy = bench::normal<bf16>({rows, channels});
  auto w1 = bench::normal<bf16>({hidden, channels}), b1 = bench::normal<bf16>({hidden});
  auto w2 = bench::normal<bf16>({channels, hidden}), b2 = bench::normal<bf16>({channels});
  auto y = room<bf16>({rows, channels}), dx = room<bf16>({rows, channels});
  auto dw1 = room<float>({hidden, channels}), db1 = room<float>({hidden});
  auto dw2 = room<float>({channels, hidden}), db2 = room<float>({channels});
  auto pre = room<bf16>({rows, hidden}), act = room<bf16>({rows, hidden}), da = room<bf16>({rows, hidden});
  constexpr GradMode write = GradMode::overwrite;

  FeedForwardBackwardParams<bf16> q;
  q.f = {rows, channels, hidden, Activation::gelu, x.data(), w1.data(), b1.data(), w2.data(), b2.data(),
         y.mutable_data()};
  q.dy = dy.data(), q.dx = dx.mutable_data(), q.dx_mode = write;
  q.dw1 = dw1.mutable_data(), q.db1 = db1.mutable_data(), q.dw1_mode = q.db1_mode = write;
  q.dw2 = dw2.mutable_data(), q.db2 = db2.mutable_data(), q.dw2_mode = q.db2_mode = write;
  report.time("feed_forward", shape, work(2, 2), [&] { gpu.feed_forward(q.f); });
  report.time("feed_forward_bwd", shape, work(3, 5), [&] { gpu.feed_forward_backward(q); });

  const auto forward = [&] {
    gpu.linear({rows, channels, hidden, x.data(), w1.data(), b1.data(), Activation::gelu,
                act.mutable_data(), pre.mutable_data()});
    gpu.linear({rows, hidden, channels, act.data(), w2.data(), b2.data(), Activation::identity,
                y.mutable_data(), nullptr});
  };
  report.time("two_linears", shape, work(2, 2), forward);
  report.time("two_linears_bwd", shape, work(3, 5), [&] {
    gpu.linear_backward({rows, hidden, channels, act.data(), w2.data(), nullptr, dy.data(),
                         Activation::identity, da.mutable_data(), dw2.mutable_data(),
                         db2.mutable_data(), write, write, write});
    gpu.linear_backward({rows, channels, hidden, x.data(), w1.data(), pre.data(), da.data(),
                         Activation::gelu, dx.mutable_data(), dw1.mutable_data(),
                         db1.mutable_data(), write, write, write});
  });
}

/// Gradients of weights and bias alone, as Long Range Arena's and Darcy's layers have them.
void weight_gradients(bench::Report& report) {
  const Backend<bf16>& gpu = backend<bf16>(Device::cuda);
  for (const auto& [rows, in, out] : {std::array<index_t, 3>{64000, 128, 384}, {64000, 128, 512}, {64000, 512, 128},
                                      {64000, 128, 128}, {14450, 128, 128}, {index_t{1} << 20, 64, 64}}) {
    auto x = bench::normal<bf16>({rows, in}), dy = bench::normal<bf16>({rows, out}), w = bench::normal<bf16>({out, in});
    auto dw = room<float>({out, in}), db = room<float>({out});
    bench::Work work = values<bf16>(double(rows * (in + out)));
    work.flops = 2 * double(rows) * double(in * out), work.flops_per_s = bench::flops_per_second<bf16>();
    report.time("linear_dw", fmt::format("bf16 {} {}->{}", rows, in, out), work, [&] {
      gpu.linear_backward({rows, in, out, x.data(), w.data(), nullptr, dy.data(), Activation::identity, nullptr,
                           dw.mutable_data(), db.mutable_data(), GradMode::ignore, GradMode::overwrite,
                           GradMode::overwrite});
    });
  }
}

void optimizer(bench::Report& report) {
  const Backend<float>& gpu = backend<float>(Device::cuda);
  const index_t n = index_t{1} << 26;
  const std::string shape = fmt::format("fp32 {}", n);
  auto p = bench::normal<float>({n}), g = bench::normal<float>({n});
  auto m = room<float>({n}), v = room<float>({n});
  auto norm = room<double>({1});
  report.time("sum_squares", shape, values<float>(double(n)),
              [&] { gpu.sum_squares(g.data(), n, norm.mutable_data()); });
  StepScalars s;
  s.lr = 1e-6, s.beta1 = 0.9, s.beta2 = 0.999, s.weight_decay = 1e-5, s.clip = 1;
  s.correction1 = 0.1, s.correction2 = 0.001;
  auto scalars = room<std::uint8_t>({sizeof s});
  detail::require_cuda().stage(scalars.mutable_data(), &s, sizeof s);
  const ArenaRange range{0, n};
  UpdateParams<float> u;
  u.ranges = &range, u.range_count = 1;
  u.p = p.mutable_data(), u.g = g.data(), u.m = m.mutable_data(), u.v = v.mutable_data();
  u.s = reinterpret_cast<const StepScalars*>(scalars.data()), u.norm_squared = norm.data();
  report.time("adamw", shape, values<float>(7.0 * double(n)), [&] { gpu.update(u); });
  report.time("ema", shape, values<float>(3.0 * double(n)),
              [&] { gpu.ema(m.mutable_data(), p.data(), n, 0.999); });
}

template <class T>
void all(bench::Report& report) {
  for (const index_t cols : {64, 128, 256}) copies_and_maps<T>(report, cols);
  for (const index_t cols : {8, 64, 128, 256}) norms<T>(report, cols);
  norms<T>(report, 128, 64000);
  losses<T>(report);
  for (const index_t width : {64, 128}) layers<T>(report, width);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    memory_copy(report);
    all<bf16>(report);
    all<float>(report);
    feed_forward_layer(report);
    weight_gradients(report);
    optimizer(report);
  });
}
