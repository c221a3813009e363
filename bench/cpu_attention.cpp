// Times of attention on the CPU, forward alone and with backward, beside an estimate of what the
// processor could do at best.
//   cpu_attention [THREADS]...        default: 1 2
// Milliseconds are the least of several runs. The estimate counts, on one thread, the multiply-adds
// (two a cycle) and the exponentials' other instructions (two a cycle) at the width of AVX2; `of
// best` is its share of the time times the threads.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "flr/core/backend.hpp"
#include "flr/core/parallel.hpp"

#ifndef FLR_COMPILED
#include "flr/cpu/table.hpp"
#endif

using namespace flr;

namespace {

struct Problem {
  const char* name;
  index_t B, H, Nq, Nk, D;
  bool latent_q = false, latent_k = false;  ///< [H,N,D], the same for every batch
};

const Problem problems[] = {
    {"self-attention, N=1k", 1, 8, 1024, 1024, 16},
    {"self-attention, N=16k", 1, 8, 16384, 16384, 16},
    {"self-attention, N=1k", 1, 8, 1024, 1024, 64},
    {"gather, M=128, N=1k", 1, 8, 128, 1024, 16, true},
    {"scatter, M=128, N=1k", 1, 8, 1024, 128, 16, false, true},
    {"gather, M=128, N=16k", 1, 8, 128, 16384, 16, true},
    {"scatter, M=128, N=16k", 1, 8, 16384, 128, 16, false, true},
    {"gather, M=128, N=100k", 1, 8, 128, 100000, 16, true},
    {"scatter, M=128, N=100k", 1, 8, 100000, 128, 16, false, true},
    {"gather, elasticity", 2, 8, 64, 972, 8, true},
    {"scatter, elasticity", 2, 8, 972, 64, 8, false, true},
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The shortest of a second's runs, three at least.
template <class Run>
double milliseconds(Run&& run) {
  double best = 1e30;
  const auto start = Clock::now();
  for (int i = 0; i < 3 || (i < 1000 && seconds_since(start) < 1); ++i) {
    const auto begin = Clock::now();
    run();
    best = std::min(best, seconds_since(begin));
  }
  return best * 1e3;
}

/// Time of 2¹⁶ dependent-free multiply-adds of eight floats, at two a cycle, measured.
double nanoseconds_per_cycle() {
  volatile std::uint64_t seed = 1;
  double best = 1e30;
  for (int i = 0; i < 20; ++i) {
    std::uint64_t x = seed;
    const auto begin = Clock::now();
    for (int j = 0; j < 1 << 16; ++j) x = x * 3 + 1, x ^= x >> 1;  // 3 + 1 + 1 + 1 cycles, a chain
    best = std::min(best, seconds_since(begin));
    seed = x;
  }
  return best * 1e9 / (1 << 16) / 5;
}

struct Data {
  std::vector<float> q, k, v, o, lse, dout, dq, dk, dv;
  SdpaBackwardParams<float> p;

  explicit Data(const Problem& x) {
    SdpaParams<float>& f = p.f;
    f.B = x.B, f.H = x.H, f.Nq = x.Nq, f.Nk = x.Nk, f.D = f.Dv = x.D, f.scale = 0.3f;
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    const auto make = [&](std::vector<float>& values, index_t N, bool latent, HeadStrides& s) {
      const index_t C = x.H * x.D;
      s = latent ? HeadStrides{0, N * x.D, x.D} : HeadStrides{N * C, x.D, C};
      values.resize(static_cast<std::size_t>((latent ? 1 : x.B) * N * C));
      for (float& value : values) value = normal(engine);
      return values.data();
    };
    f.q = make(q, x.Nq, x.latent_q, f.qs);
    f.k = make(k, x.Nk, x.latent_k, f.ks);
    f.v = make(v, x.Nk, false, f.vs);
    f.o = make(o, x.Nq, false, f.os);
    p.dout = make(dout, x.Nq, false, p.dos);
    p.dq = make(dq, x.Nq, x.latent_q, p.dqs);
    p.dk = make(dk, x.Nk, x.latent_k, p.dks);
    p.dv = make(dv, x.Nk, false, p.dvs);
    lse.resize(static_cast<std::size_t>(x.B * x.H * x.Nq));
    f.lse = lse.data();
    p.dq_mode = p.dk_mode = p.dv_mode = GradMode::overwrite;
  }
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> threads;
  for (int i = 1; i < argc; ++i) threads.push_back(std::atoi(argv[i]));
  if (threads.empty()) threads = {1, 2};
  const Backend<float>& cpu = cpu_backend<float>();
  const double cycle = nanoseconds_per_cycle();
  std::printf("%.2f GHz\n%-26s %3s %7s %12s %8s %12s %8s\n", 1 / cycle, "", "D", "threads",
              "forward, ms", "of best", "+ backward", "of best");
  for (const Problem& x : problems) {
    Data data(x);
    // A score costs 2 D multiply-adds forward and 5 D backward, 5 for an exponential, and 12 other
    // instructions on vectors.
    const double scores = double(x.B) * double(x.H) * double(x.Nq) * double(x.Nk) / 8;
    const double forward_floor = scores * (2 * double(x.D) + 5 + 12) / 2 * cycle * 1e-6;
    const double both_floor =
        forward_floor + scores * (5 * double(x.D) + 5 + 10) / 2 * cycle * 1e-6;
    for (const int n : threads) {
      set_num_threads(n);
      const double forward = milliseconds([&] { cpu.sdpa(data.p.f); });
      const double both = milliseconds([&] {
        cpu.sdpa(data.p.f);
        cpu.sdpa_backward(data.p);
      });
      std::printf("%-26s %3d %7d %12.3f %7.0f%% %12.3f %7.0f%%\n", x.name, static_cast<int>(x.D), n,
                  forward, 100 * forward_floor / n / forward, both, 100 * both_floor / n / both);
      std::fflush(stdout);
    }
  }
}
