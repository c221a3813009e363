// One training step of FLARE in its elasticity configuration: B=2, N=972, C=64, 8 blocks, H=8, M=64,
// fp32, AdamW, clipping. The peer is bench/peer/train_step.py.
#include "bench_json.hpp"

int main(int argc, char** argv) {
  using namespace flr;
  const bench::Arguments args = bench::parse(argc, argv);
  bench::reset_peak();
  const double idle = bench::status_mib("VmRSS:");

  manual_seed(0);
  models::Flare<float> model({});
  optim::AdamW<float> optimizer(model, {.lr = 1e-3, .weight_decay = 1e-5});
  const auto x = rand({2, 972, 2}), target = randn({2, 972, 1});
  const bench::Times t = bench::measure(
      [&] {
        optimizer.zero_grad();
        backward(relative_l2(model(x), target));
        optim::clip_grad_norm(optimizer, 1.0);
        optimizer.step();
      },
      args.seconds, 3);
  bench::print("train_step", args, "B2 N972 C64 L8 H8 M64", t, bench::status_mib("VmHWM:") - idle);
}
