// One training step of `lra` on the GPU: ListOps under the paper's settings (B=32, N=2000, C=128, 4
// blocks, 8 heads, padding seen), forward, cross-entropy, backward, clipping to 1, AdamW; with the
// program's own model, loss and batches; as one CUDA graph (flr) and as plain calls (flr-plain).
// What the step must do at least is counted by step_work.hpp. The peer is
// bench/peer/cuda_lra_step.py.
//
//   cuda_lra_step --device cpu    parameter counts, and three losses of a small step without a GPU
#include "flr/core/precision.hpp"
#include "flr/models/lra.hpp"
#include "flr/train/sequence_task.hpp"
#include "step_work.hpp"

namespace {

using namespace flr;
using bench::Precision;

constexpr const char* all_mixers[] = {"transformer", "flare", "linear", "performer"};

/// `--preset paper --task listops` of the program, in the model's words.
models::SequenceOptions listops_options(const std::string& mixer) {
  models::SequenceOptions o;
  o.vocabulary = 16, o.labels = 10, o.max_length = 2000;
  o.blocks = 4, o.channels = 128, o.heads = 8, o.mlp_ratio = 4, o.mixer = mixer;
  return o;
}

/// Sequences of ListOps' vocabulary, sizes and padding; their values mean nothing.
data::SequenceSet random_set(index_t samples, const models::SequenceOptions& o) {
  data::SequenceSet set;
  const std::vector<float> draws = rand({samples, o.max_length}).to_vector();
  std::vector<std::uint8_t> tokens(draws.size());
  for (index_t s = 0; s < samples; ++s) {
    const float* row = draws.data() + s * o.max_length;
    set.lengths.push_back(o.max_length / 4 +
                          static_cast<index_t>(row[0] * 0.75f * static_cast<float>(o.max_length)));
    for (index_t i = 0; i < set.lengths.back(); ++i)
      tokens[static_cast<std::size_t>(s * o.max_length + i)] = static_cast<std::uint8_t>(
          1 + static_cast<int>(row[i] * static_cast<float>(o.vocabulary - 1)));
    set.labels.push_back(static_cast<std::int32_t>(s % o.labels));
  }
  set.tokens = data::Array(tokens, {samples, o.max_length});
  set.classes = o.labels, set.vocabulary = o.vocabulary;
  data::check_sequences(set, "[lra_step]");
  return set;
}

/// Model, optimiser and batch of one run, and its step.
class Step {
 public:
  Step(const models::SequenceOptions& o, index_t batch, Device device, bool bf16, bool capture)
      : model((manual_seed(0), o)),
        set_(random_set(batch, o)),
        optimizer_(on(device, bf16)),
        task_(model, set_, {.mask = false}, batch, 0),
        inputs_(task_.batch(0, 0)),
        step_(device, [this](const StepInputs& in) { return whole(in); }, {.enabled = capture}) {
    optimizer_.hyper.clip = 1;
  }

  const Tensor<float>& operator()() {
    optimizer_.prepare();
    return step_.run(inputs_);
  }
  bool captured() const { return step_.captured(); }

  models::Lra<float> model;

 private:
  optim::AdamW<float> on(Device device, bool bf16) {
    model.to(device);
    model.activate_in_bf16(bf16);
    return {model, {.lr = 5e-4, .beta2 = 0.98, .weight_decay = 1e-5}};
  }

  Tensor<float> whole(const StepInputs& in) {
    optimizer_.zero_grad();
    const Tensor<float> loss = task_.loss(in);
    backward(loss);
    optimizer_.measure_norm();
    optimizer_.launch();
    return loss.detach();
  }

  data::SequenceSet set_;
  optim::AdamW<float> optimizer_;
  train::SequenceTask<float> task_;
  StepInputs inputs_;
  CapturedStep<Tensor<float>> step_;
};

bench::Work least_work(const models::Lra<float>& model, index_t batch, Precision precision) {
  const models::SequenceOptions& o = model.options();
  const auto number = [](index_t n) { return static_cast<double>(n); };
  const double tokens = number(batch * o.max_length), blocks = o.blocks, heads = number(o.heads);
  const double d = number(o.channels / o.heads), r = number(o.performer_features);
  const double rows = blocks * heads * tokens;  // of all heads
  bench::StepWork w(precision);
  // The head sees a sequence once.
  w.model(model, tokens, "cls_proj").blocks(blocks, tokens, number(o.channels));
  if (o.mixer == "transformer") w.attention(rows * number(o.max_length), d);
  if (o.mixer == "flare") w.flare(rows * number(o.latents), d);
  // S = Σ φ(k) vᵀ and φ(q)·S; two gradients for each.
  if (o.mixer == "linear") w.products(rows * 4 * d * d);
  // ω·q and ω·k as well, where ω has no gradient; every feature is an exponential, which is kept.
  if (o.mixer == "performer")
    w.products(rows * 4 * r * d).products(rows * 4 * r * d, 2).exponentials(rows * 2 * r);
  return w.work();
}

void run(bench::Report& report, const char* mixer, Precision precision, bool capture) {
  const models::SequenceOptions o = listops_options(mixer);
  constexpr index_t batch = 32;
  const std::string shape =
      fmt::format("listops {} {} B{} N{} C{} L{} H{}", mixer, bench::name_of(precision), batch,
                  o.max_length, o.channels, o.blocks, o.heads);
  if (!report.wanted("lra_step", shape)) return;
  set_matmul_precision(precision == Precision::tf32 ? MatmulPrecision::tf32
                                                    : MatmulPrecision::fp32);
  Step step(o, batch, Device::cuda, precision == Precision::bf16, capture);
  for (int i = 0; i < 3; ++i) step();  // the third is captured
  report.time(
      "lra_step", shape, least_work(step.model, batch, precision), [&] { step(); },
      capture ? "flr" : "flr-plain");
  if (capture != step.captured()) fmt::print(stderr, "{}: the step was not captured\n", shape);
}

/// What can be seen without a GPU: the counts, which the peer must have too, and that steps learn.
int on_cpu() {
  for (const char* mixer : all_mixers) {
    const models::Lra<float> model(listops_options(mixer));
    const bench::Work least = least_work(model, 32, Precision::bf16);
    models::SequenceOptions small = listops_options(mixer);
    small.max_length = 64, small.channels = 32, small.heads = 4, small.blocks = 2;
    for (const bool bf16 : {false, true}) {
      Step step(small, 4, Device::cpu, bf16, false);
      std::vector<float> losses;
      for (int i = 0; i < 3; ++i) losses.push_back(step().item());
      fmt::print(
          "{{\"bench\":\"lra_step\",\"impl\":\"flr\",\"mixer\":\"{}\",\"parameters\":{},"
          "\"small\":{{\"precision\":\"{}\",\"parameters\":{},\"losses\":[{:.4f},{:.4f},{:.4f}]}},"
          "\"memory_floor_ms\":{:.4f},\"exp_floor_ms\":{:.4f},\"flops_floor_ms\":{:.4f}}}\n",
          mixer, model.num_parameters(), bf16 ? "bf16" : "fp32", step.model.num_parameters(),
          losses[0], losses[1], losses[2], least.memory_ms(), least.exponential_ms(),
          least.flops_ms());
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--device" && std::string(argv[2]) == "cpu")
    return on_cpu();
  return bench::run(argc, argv, [](bench::Report& report) {
    using enum Precision;
    for (const Precision p : {bf16, tf32, fp32})
      for (const char* mixer : all_mixers)
        for (const bool capture : {true, false}) run(report, mixer, p, capture);
    set_matmul_precision(MatmulPrecision::fp32);
  });
}
