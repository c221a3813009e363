// The teaching ladder of kernels/ladder: every step of FLARE's two hops, timed by one harness and
// checked against double precision. kernels/README.md is the page that goes with it.
//
//   cuda_ladder --N 1000000 --M 128 --D 8 --H 8
//
// A line a step and hop: milliseconds, the bytes that must move at least, how much of the time
// memory, exponentials and tensor cores would need for what they must do (100 %: as fast as the
// chip), and the error. The last line is "all steps are right"; a wrong one ends the program with
// exit code 1.
// --only 'tensor cores decode' picks lines by a regular expression.
#include "cuda_bench.hpp"
#include "ladder/reference.hpp"

namespace {

using namespace flr;
namespace ladder = flr::cuda::ladder;

struct Sizes {
  index_t N = 1'000'000, M = 128, D = 8, H = 8;
};

/// One hop's operands on the device, and copies of them on the host for the reference.
struct Operands {
  Tensor<bf16> row, column, value, out;
  ladder::Hop hop;

  /// rows and columns [n,H,D] for tokens, [H,n,D] for latents.
  Operands(const Sizes& s, bool encode) {
    const Shape tokens{s.N, s.H, s.D}, latents{s.H, s.M, s.D};
    const HeadStrides token{0, s.D, s.H * s.D}, latent{0, s.M * s.D, s.D};
    // Scores of about 1.4 (D = 8) and 2: many tokens count, as in a network.
    const auto draw = [](const Shape& shape, double scale) {
      return (randn<float>(shape, Device::cuda) * scale).to<bf16>();
    };
    row = draw(encode ? latents : tokens, 0.7), column = draw(encode ? tokens : latents, 0.7);
    value = draw(encode ? tokens : latents, 1), out = empty<bf16>(row.shape(), Device::cuda);
    hop.rows = encode ? s.M : s.N, hop.columns = encode ? s.N : s.M;
    hop.H = int(s.H), hop.D = int(s.D);
    hop.row.s = hop.out.s = encode ? latent : token;
    hop.column.s = hop.value.s = encode ? token : latent;
    point(hop, row.data(), column.data(), value.data(), out.mutable_data());
  }
  static void point(ladder::Hop& p, const bf16* row, const bf16* column, const bf16* value,
                    bf16* out) {
    p.row.data = row, p.column.data = column, p.value.data = value, p.out.data = out;
  }

  ladder::Deviation deviation() const {
    const auto r = row.to_vector(), c = column.to_vector(), v = value.to_vector();
    auto o = out.to_vector();
    ladder::Hop host = hop;
    point(host, r.data(), c.data(), v.data(), o.data());
    return deviation_of(host, 1e7);  // less than a second
  }

  /// Every operand moves once; a score is one exponential and two products of depth D.
  bench::Work work() const {
    const double n = double(hop.H), scores = n * double(hop.rows) * double(hop.columns);
    bench::Work w;
    w.bytes = 2 * n * double(hop.rows + hop.columns) * double(hop.D) * sizeof(bf16);
    w.exponentials = scores, w.flops = 4 * scores * double(hop.D);
    return w;
  }
};

struct Step {
  const char* name;
  void (*run)(const ladder::Hop&);
};
constexpr Step steps[] = {{"plain", ladder::plain},
                          {"tiled", ladder::tiled},
                          {"tensor cores", ladder::tensor_cores},
                          {"final", ladder::final}};

/// Whether all steps that --only leaves are right.
bool climb(const Sizes& sizes, const bench::Arguments& arguments) {
  const std::regex only(arguments.only);
  bool right = true;
  fmt::print("N={} M={} D={} H={}, bf16\n{:<22} {:>10} {:>9} {:>8} {:>8} {:>8} {:>10} {:>9}\n",
             sizes.N, sizes.M, sizes.D, sizes.H, "", "ms", "MB", "memory", "exp", "tensor",
             "max error", "L2");
  for (const bool encode : {true, false}) {
    manual_seed(1);
    const Operands operands(sizes, encode);
    const bench::Work w = operands.work();
    for (const Step& step : steps) {
      const std::string name = fmt::format("{} {}", step.name, encode ? "encode" : "decode");
      if (!std::regex_search(name, only)) continue;
      Tensor<bf16> out = operands.out;
      out.fill_(bf16(NAN));  // so that no step lives on what the one before left
      const bench::Times t = bench::measure([&] { step.run(operands.hop); }, arguments.seconds);
      const ladder::Deviation off = operands.deviation();
      const bool good = off.l2 <= ladder::Deviation::most;  // false for NaN
      right = right && good;
      fmt::print("{:<22} {:10.4f} {:9.1f} {:7.1f}% {:7.1f}% {:7.1f}% {:10.1e} {:9.1e}{}\n", name,
                 t.ms, w.bytes / 1e6, 100 * w.memory_ms() / t.ms, 100 * w.exponential_ms() / t.ms,
                 100 * w.flops_ms() / t.ms, off.max, off.l2, good ? "" : "  wrong");
      std::fflush(stdout);
    }
  }
  return right;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Sizes s;
    const bench::Arguments arguments =
        bench::parse(argc, argv, {{"--N", &s.N}, {"--M", &s.M}, {"--D", &s.D}, {"--H", &s.H}});
    const bool right = climb(s, arguments);
    fmt::print("{}\n", right ? "all steps are right" : "a step is wrong");
    return right ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", argv[0], error.what());
    return 1;
  }
}
