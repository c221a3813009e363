// One training step of FLARE on the GPU: forward, relative L2, backward, clipping to 1, AdamW; as one
// CUDA graph (flr) and as plain calls (flr-plain). What the step must do at least is counted by
// step_work.hpp. The peer is bench/peer/cuda_train_step.py.
#include "flr/core/precision.hpp"
#include "step_work.hpp"

namespace {

using namespace flr;
using bench::Precision;
using models::Recompute;

struct Configuration {
  const char* name;
  index_t B, N, c_in;
  index_t heads, latents;
  std::vector<Precision> precisions;
  std::vector<Recompute> recompute = {Recompute::none};
};

/// Both hops of every block, beside the matrices.
bench::Work least_work(const models::Flare<float>& model, const models::FlareOptions& o,
                       const Configuration& c, Precision precision) {
  const auto tokens = static_cast<double>(c.B * c.N), blocks = static_cast<double>(o.blocks);
  const auto channels = static_cast<double>(o.channels), latents = static_cast<double>(o.latents);
  return bench::StepWork(precision)
      .model(model, tokens)
      .flare(blocks * tokens * latents * static_cast<double>(o.heads),
             channels / static_cast<double>(o.heads))
      .blocks(blocks, tokens, channels)
      .work();
}

void run(bench::Report& report, const Configuration& c, Precision precision, Recompute recompute,
         bool capture) {
  const std::string shape = fmt::format("{} {} B{} N{} C64 L8 H{} M{}", c.name,
                                        bench::name_of(precision), c.B, c.N, c.heads, c.latents);
  if (!report.wanted("train_step", shape)) return;
  set_matmul_precision(precision == Precision::tf32 ? MatmulPrecision::tf32 : MatmulPrecision::fp32);
  manual_seed(0);
  models::FlareOptions o;
  o.c_in = c.c_in, o.heads = c.heads, o.latents = c.latents;
  models::Flare<float> model(o);
  model.to(Device::cuda);
  model.activate_in_bf16(precision == Precision::bf16);
  model.set_recompute(recompute);
  optim::AdamW<float> optimizer(model, {.lr = 1e-3, .weight_decay = 1e-5});
  optimizer.hyper.clip = 1;

  const auto x = rand({c.B, c.N, c.c_in}, Device::cuda), target = randn({c.B, c.N, 1}, Device::cuda);
  CapturedStep<Tensor<float>> step(
      Device::cuda,
      [&](const StepInputs& in) {
        optimizer.zero_grad();
        const auto loss = relative_l2(model.apply(Tensor<float>(in[0])), Tensor<float>(in[1]));
        backward(loss);
        optimizer.measure_norm();
        optimizer.launch();
        return loss.detach();
      },
      {.enabled = capture});
  const StepInputs inputs{x.ptr(), target.ptr()};
  const auto once = [&] {
    optimizer.prepare();
    step.run(inputs);
  };
  std::string impl = "flr";
  if (!capture) impl += "-plain";
  if (recompute == Recompute::mlp) impl += "-again-mlp";
  if (recompute == Recompute::block) impl += "-again-block";
  for (int i = 0; i < 3; ++i) once();  // the third is captured
  report.time("train_step", shape, least_work(model, o, c, precision), once, impl);
  if (capture != step.captured()) fmt::print(stderr, "{}: the step was not captured\n", shape);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Report& report) {
    using enum Precision;
    const Configuration configurations[] = {
        {"elasticity", 2, 972, 2, 8, 64, {fp32, tf32, bf16}},
        {"darcy", 2, 7225, 3, 16, 256, {bf16, tf32, fp32}},
        {"40k", 1, 40'000, 3, 8, 256, {bf16, tf32}},
        {"1M", 1, 1'000'000, 3, 8, 128, {bf16}, {Recompute::none, Recompute::mlp, Recompute::block}},
    };
    for (const Configuration& c : configurations)
      for (const Precision p : c.precisions)
        for (const Recompute r : c.recompute)
          for (const bool capture : {true, false})
            if (capture || r == Recompute::none) run(report, c, p, r, capture);
    set_matmul_precision(MatmulPrecision::fp32);
  });
}
