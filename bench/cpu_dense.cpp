// Products, dense layers, the residual MLP and layer norm of the CPU backend: GFLOP/s, time, and
// the share of the multiply-add peak of this machine.
//
//   cpu_dense [threads …]     default: 1 and all
// Products run on one thread beside Eigen's, and beside BLAS's where FLR_BENCH_BLAS is defined.
// Times are the best of many runs.
#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <vector>

#include "flr/cpu/linear.hpp"
#include "flr/cpu/norm.hpp"
#include "flr/cpu/residual_mlp.hpp"
#ifdef FLR_BENCH_BLAS
#include <cblas.h>
#endif

namespace {

using namespace flr;
using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

/// The best time of one run, in seconds, over about a third of a second.
template <class Run>
double best(Run&& run) {
  run();
  double least = 1e30;
  for (const auto start = Clock::now(); seconds(start) < 0.35;) {
    const auto begin = Clock::now();
    run();
    least = std::min(least, seconds(begin));
  }
  return least;
}

std::vector<float> values(index_t n) {
  static std::mt19937 engine(1);
  std::uniform_real_distribution<float> uniform(-0.2f, 0.2f);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = uniform(engine);
  return x;
}

/// GFLOP/s of twelve independent chains of multiply-adds on one core.
double measured_peak() {
  using cpu::dense::Vec;
  constexpr int chains = 12, rounds = 20000;
  Vec<float> sums[chains], factor = cpu::dense::splat(0.999f), term = cpu::dense::splat(1e-4f);
  for (Vec<float>& s : sums) s = term;
  float sink = 0;
  const double time = best([&] {
    for (int r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
      for (int i = 0; i < chains; ++i) sums[i] = cpu::dense::fma(sums[i], factor, term);
      asm volatile("" : "+x"(factor));
    }
    for (const Vec<float>& s : sums) sink += cpu::dense::sum<float>(s);
  });
  asm volatile("" : : "r"(&sink) : "memory");
  return 2e-9 * chains * rounds * cpu::dense::lanes<float> / time;
}

struct Product {
  const char* what;
  index_t m, n, k, batch;
  bool trans_a, trans_b;
};

constexpr Product products[] = {
    {"layer", 1944, 64, 64, 1, false, true},        {"its dx", 1944, 64, 64, 1, false, false},
    {"its dw", 64, 64, 1944, 1, true, false},       {"first layer", 1944, 64, 3, 1, false, true},
    {"last layer", 1944, 1, 64, 1, false, true},    {"wide layer", 1944, 256, 64, 1, false, true},
    {"scores", 64, 972, 8, 16, false, true},        {"weights · v", 64, 8, 972, 16, false, false},
    {"weightsᵀ · z", 972, 8, 64, 16, true, false},  {"128", 128, 128, 128, 1, false, false},
    {"256", 256, 256, 256, 1, false, false},        {"512", 512, 512, 512, 1, false, false},
    {"1024", 1024, 1024, 1024, 1, false, false},    {"1024, Bᵀ", 1024, 1024, 1024, 1, false, true},
    {"1024, Aᵀ", 1024, 1024, 1024, 1, true, false}, {"tall", 1944, 256, 256, 1, false, true},
};

void bench_products(double peak) {
  set_num_threads(1);
  fmt::print("{:14} {:>5} {:>5} {:>5} {:>6} | {:>9} {:>7} {:>6} | {:>7} {:>7}\n", "one thread", "m",
             "n", "k", "batch", "µs", "GFLOP/s", "peak", "Eigen", "BLAS");
  for (const Product& s : products) {
    GemmParams<float> p;
    p.m = s.m, p.n = s.n, p.k = s.k, p.trans_a = s.trans_a, p.trans_b = s.trans_b;
    p.lda = s.trans_a ? s.m : s.k, p.ldb = s.trans_b ? s.k : s.n, p.ldc = s.n;
    p.batch[1] = s.batch;
    p.batch_a[1] = s.m * s.k, p.batch_b[1] = s.k * s.n, p.batch_c[1] = s.m * s.n;
    const auto a = values(s.m * s.k * s.batch), b = values(s.k * s.n * s.batch);
    std::vector<float> c(static_cast<std::size_t>(s.m * s.n * s.batch));
    p.a = a.data(), p.b = b.data(), p.c = c.data();
    const double flops = 2e-9 * double(s.m) * double(s.n) * double(s.k) * double(s.batch);
    const double ours = best([&] { cpu::gemm(p); });

    using Matrix = Eigen::Matrix<float, -1, -1, Eigen::RowMajor>;
    using Map = Eigen::Map<const Matrix>;
    const double eigen = best([&] {
      for (index_t i = 0; i < s.batch; ++i) {
        const Map left(p.a + i * p.batch_a[1], s.trans_a ? s.k : s.m, p.lda);
        const Map right(p.b + i * p.batch_b[1], s.trans_b ? s.n : s.k, p.ldb);
        Eigen::Map<Matrix> to(p.c + i * p.batch_c[1], s.m, s.n);
        if (s.trans_a)
          to.noalias() = left.transpose() * right;
        else if (s.trans_b)
          to.noalias() = left * right.transpose();
        else
          to.noalias() = left * right;
      }
    });
    std::string blas = "-";
#ifdef FLR_BENCH_BLAS
    const double time = best([&] {
      for (index_t i = 0; i < s.batch; ++i)
        cblas_sgemm(CblasRowMajor, s.trans_a ? CblasTrans : CblasNoTrans,
                    s.trans_b ? CblasTrans : CblasNoTrans, int(s.m), int(s.n), int(s.k), 1,
                    p.a + i * p.batch_a[1], int(p.lda), p.b + i * p.batch_b[1], int(p.ldb), 0,
                    p.c + i * p.batch_c[1], int(p.ldc));
    });
    blas = fmt::format("{:.1f}", flops / time);
#endif
    fmt::print("{:14} {:5} {:5} {:5} {:6} | {:9.1f} {:7.1f} {:5.0f}% | {:7.1f} {:>7}\n", s.what,
               s.m, s.n, s.k, s.batch, ours * 1e6, flops / ours, 100 * flops / ours / peak,
               flops / eigen, blas);
  }
}

void report(const char* what, int threads, double flops, double time, double peak) {
  fmt::print("{:34} {:7} | {:9.1f} {:8.1f} {:5.0f}%\n", what, threads, time * 1e6, flops / time,
             100 * flops / time / (peak * threads));
}

/// FLARE's layers at two samples of 972 points and 64 channels.
void bench_layers(int threads, double peak) {
  set_num_threads(threads);
  constexpr index_t rows = 1944, c = 64;
  constexpr int layers = 3;
  const double product = 2e-9 * rows * c * c;
  const auto x = values(rows * c), dy = values(rows * c), w = values(c * c), b = values(c);
  std::vector<float> y(x.size()), pre(x.size()), dx(x.size()), dw(w.size()), db(b.size());
  const auto act = Activation::gelu_tanh;
  report(
      "linear, GELU, forward", threads, product, best([&] {
        cpu::linear<float>({rows, c, c, x.data(), w.data(), b.data(), act, y.data(), pre.data()});
      }),
      peak);
  report("linear, GELU, backward", threads, 2 * product, best([&] {
           cpu::linear_backward<float>({rows, c, c, x.data(), w.data(), pre.data(), dy.data(), act,
                                        dx.data(), dw.data(), db.data(), GradMode::overwrite,
                                        GradMode::overwrite, GradMode::overwrite});
         }),
         peak);

  ResidualMlpParams<float> f;
  f.rows = rows, f.in = f.hid = f.out = c, f.layers = layers;
  f.residual_in = f.residual_out = true;
  f.x = x.data(), f.y = y.data();
  std::vector<float> saved(static_cast<std::size_t>(rows * c * (layers + 1)));
  f.pre = saved.data();
  ResidualMlpBackwardParams<float> g;
  g.rows = rows, g.in = g.hid = g.out = c, g.layers = layers;
  g.residual_in = g.residual_out = true;
  g.x = x.data(), g.dy = dy.data(), g.pre = saved.data(), g.dx = dx.data();
  g.dx_mode = GradMode::overwrite;
  std::vector<std::vector<float>> weights, gradients;
  for (int l = 0; l < layers + 2; ++l) {
    f.w[l] = g.w[l] = weights.emplace_back(values(c * c)).data();
    f.b[l] = weights.emplace_back(values(c)).data();
    g.dw[l] = gradients.emplace_back(c * c).data(), g.db[l] = gradients.emplace_back(c).data();
    g.dw_mode[l] = g.db_mode[l] = GradMode::overwrite;
  }
  report("residual MLP (3 layers), forward", threads, 5 * product,
         best([&] { cpu::residual_mlp(f); }), peak);
  report("residual MLP (3 layers), backward", threads, 10 * product,
         best([&] { cpu::residual_mlp_backward(g); }), peak);

  std::vector<float> mean(rows), rstd(rows);
  const double norm = 1e-9 * rows * c;  // one element a "flop": norms are bound by memory
  report("layer norm, forward (elements)", threads, norm, best([&] {
           cpu::norm<float>({rows, c, false, 1e-5f, x.data(), w.data(), b.data(), y.data(),
                             mean.data(), rstd.data()});
         }),
         peak);
  report(
      "layer norm, backward (elements)", threads, norm, best([&] {
        cpu::norm_backward<float>({rows, c, false, x.data(), dy.data(), w.data(), mean.data(),
                                   rstd.data(), dx.data(), dw.data(), db.data(),
                                   GradMode::overwrite, GradMode::overwrite, GradMode::overwrite});
      }),
      peak);
}

}  // namespace

int main(int argc, char** argv) {
  const double peak = measured_peak();
  fmt::print("multiply-add peak of one core: {:.1f} GFLOP/s in vectors of {} bytes\n\n", peak,
             flr::cpu::simd::vector_bytes);
  bench_products(peak);
  std::vector<int> threads;
  for (int i = 1; i < argc; ++i) threads.push_back(std::atoi(argv[i]));
  flr::set_num_threads(0);
  if (threads.empty()) threads = {1, flr::num_threads()};
  fmt::print("\n{:34} {:>7} | {:>9} {:>8} {:>6}\n", "rows 1944, 64 channels", "threads", "µs",
             "GFLOP/s", "peak");
  for (const int n : threads) bench_layers(n, peak);
}
