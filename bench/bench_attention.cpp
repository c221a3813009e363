// Self-attention and FLARE's mixer alone, forward and forward + backward. The peer is
// bench/peer/attention.py. Every shape runs in a process of its own, so that its memory is its own.
#include <sys/wait.h>
#include <unistd.h>

#include "bench_json.hpp"

namespace {

using namespace flr;

template <class Forward>
void run(const char* name, const bench::Arguments& args, const std::string& shape, Forward&& forward,
         std::vector<Shape> inputs, bool with_backward) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child != 0) {
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) fmt::print(stderr, "bench_attention: {} {} failed\n", name, shape);
    return;
  }
  {
    std::vector<Tensor<float>> tiny;
    for (const Shape& s : inputs) tiny.push_back(randn({1, s[1], 8, s[3]}));
    forward(tiny);
  }
  bench::reset_peak();
  const double idle = bench::status_mib("VmRSS:");
  std::vector<Tensor<float>> x;
  for (const Shape& s : inputs) x.push_back(randn(s));
  bench::Times t;
  if (with_backward) {
    for (auto& v : x) v.requires_grad(true);
    Shape out = inputs[0];
    if (inputs[0][2] < inputs[1][2]) out = inputs[1];  // the mixer's result has its keys' shape
    const auto dy = randn(out);
    t = bench::measure(
        [&] {
          for (auto& v : x) v.zero_grad();
          backward(forward(x), dy);
        },
        args.seconds);
  } else {
    NoGrad scope;
    t = bench::measure([&] { forward(x); }, args.seconds);
  }
  bench::print(name, args, shape, t, bench::status_mib("VmHWM:") - idle);
  std::fflush(stdout);
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Arguments args = bench::parse(argc, argv);
  args.seconds = std::min(args.seconds, 8.0) / 4;
  for (bool back : {false, true})
    for (index_t n : {1024, 16384})
      for (index_t d : {8, 16}) {
        const Shape s{1, 8, n, d};
        run(back ? "self_fwd_bwd" : "self_fwd", args, fmt::format("H8 N{} D{}", n, d),
            [](const auto& x) { return sdpa(x[0], x[1], x[2]); }, {s, s, s}, back);
      }
  for (bool back : {false, true})
    for (index_t n : {1024, 16384, 100000})
      for (index_t d : {8, 16}) {
        const Shape s{1, 8, n, d};
        run(back ? "mixer_fwd_bwd" : "mixer_fwd", args, fmt::format("H8 M128 N{} D{}", n, d),
            [](const auto& x) { return flare_mixer(x[0], x[1], x[2]); }, {{1, 8, 128, d}, s, s}, back);
      }
}
