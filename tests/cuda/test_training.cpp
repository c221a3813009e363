// Training on the GPU: a step as one CUDA graph, the same bits without it, run after run and after
// a restart; and losses that follow the CPU's.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "flr/cuda/cuda.hpp"
#include "flr/train/evaluate.hpp"
#include "flr/train/trainer.hpp"

using namespace flr;
namespace fs = std::filesystem;

namespace {

// y = sin(5 x₀) + x₁ at random points, all samples of one size.
data::Dataset wave(index_t samples, index_t points) {
  manual_seed(21);
  data::Dataset set;
  set.train.c_in = 2, set.train.c_out = 1;
  set.train.x = rand({samples * points, 2}).to_vector();
  for (std::size_t i = 0; i < set.train.x.size(); i += 2)
    set.train.y.push_back(std::sin(5 * set.train.x[i]) + set.train.x[i + 1]);
  set.train.offsets = {0};
  for (index_t i = 1; i <= samples; ++i) set.train.offsets.push_back(points * i);
  set.test = set.train;
  set.x_norm = {{0, 0}, {1, 1}};
  set.y_norm = {{0.5}, {2}};
  return set;
}

// The same as Darcy's: on a grid, with derivatives in the loss.
data::Dataset wave_on_grid() {
  data::Dataset set = wave(12, 12 * 12);
  set.train.grid = set.test.grid = {12, 12};
  set.derivative_loss = true, set.derivative_step = 1.0 / 12;
  return set;
}

enum class Rule { adamw, lion, muon };

struct Setup {
  Device device = Device::cuda;
  bool bf16 = false, capture = true;
  Rule rule = Rule::adamw;
  index_t accumulate = 1;
  models::Recompute recompute = models::Recompute::none;
};

struct Run {
  const data::Dataset& set;
  std::unique_ptr<models::Flare<float>> model;
  std::unique_ptr<optim::Optimizer<float>> optimizer;
  std::unique_ptr<train::Trainer<float>> trainer;

  Run(const data::Dataset& data, const Setup& s) : set(data) {
    manual_seed(22);
    models::FlareOptions o;
    o.channels = 32, o.heads = 4, o.latents = 16, o.blocks = 2;
    model = std::make_unique<models::Flare<float>>(o);
    model->to(s.device);
    model->activate_in_bf16(s.bf16);
    model->set_recompute(s.recompute);
    if (s.rule == Rule::adamw)
      optimizer = std::make_unique<optim::AdamW<float>>(
          *model, optim::AdamOptions{.lr = 2e-3, .weight_decay = 1e-4});
    if (s.rule == Rule::lion)
      optimizer = std::make_unique<optim::Lion<float>>(*model, optim::LionOptions{});
    if (s.rule == Rule::muon)
      optimizer = std::make_unique<optim::Muon<float>>(
          *model, optim::MuonOptions{.lr = 5e-3, .weight_decay = 0.01});
    train::TrainerOptions t;
    t.epochs = 20, t.batch_size = 2, t.accumulate = s.accumulate, t.clip = 0.5, t.ema_decay = 0.9;
    t.capture = s.capture;
    trainer = std::make_unique<train::Trainer<float>>(*model, *optimizer, set, t);
    optim::OneCycleOptions c;
    c.max_lr = optimizer->hyper.lr, c.total_steps = trainer->total_steps();
    c.cycle_momentum = true;
    trainer->set_schedule(std::make_unique<optim::OneCycle>(c));
  }

  void steps(int n) {
    for (int i = 0; i < n; ++i) trainer->step();
  }
  std::vector<double> losses() {
    std::vector<double> list;
    for (const auto& r : trainer->take_reports()) list.push_back(r.loss);
    return list;
  }
  std::vector<float> weights() { return model->arena().values.to_vector(); }
  std::vector<float> average() { return trainer->ema()->shadow().to_vector(); }
};

struct Folder {
  fs::path path = fs::temp_directory_path() / ("flr-cuda-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

const std::vector<Setup> setups{
    {},
    {.bf16 = true},
    {.rule = Rule::lion, .accumulate = 2},
    {.rule = Rule::muon},
    {.bf16 = true, .rule = Rule::muon, .accumulate = 3, .recompute = models::Recompute::block},
};

}  // namespace

TEST_CASE("a captured step has the bits of a plain one") {
  for (const data::Dataset& set : {wave(12, 100), wave_on_grid()})
    for (std::size_t i = 0; i < setups.size(); ++i) {
      CAPTURE(set.derivative_loss);
      CAPTURE(i);
      Setup plain = setups[i];
      plain.capture = false;
      Run a(set, setups[i]), b(set, plain);
      a.steps(9), b.steps(9);
      CHECK(a.trainer->captured());
      CHECK_FALSE(b.trainer->captured());
      CHECK(a.losses() == b.losses());
      CHECK(a.weights() == b.weights());
      CHECK(a.average() == b.average());
    }
}

TEST_CASE("batches brought in on the copy stream change no bit") {
  // y of two samples is just above the 256 KiB from which on a batch goes that way.
  const data::Dataset set = wave(8, 33000);
  const auto train = [&](bool capture, const char* prefetch) {
    ::setenv("FLR_PREFETCH", prefetch, 1);
    Run run(set, {.capture = capture});
    run.steps(7);  // more than the ring has slots for, captured ones among them
    ::unsetenv("FLR_PREFETCH");
    CHECK(run.trainer->captured() == capture);
    return std::pair(run.losses(), run.weights());
  };
  for (const bool capture : {false, true}) {
    CAPTURE(capture);
    const auto with = train(capture, "on"), without = train(capture, "off");
    CHECK(with.first == without.first);
    CHECK(with.second == without.second);
  }
}

TEST_CASE("a pool that keeps nothing changes no bit") {
  const data::Dataset set = wave(12, 100);
  Pool& memory = pool(Device::cuda);
  const auto train = [&](const Setup& s) {
    const index_t before = memory_stats(Device::cuda).allocations;
    Run run(set, s);
    run.steps(5);
    const index_t taken = memory_stats(Device::cuda).allocations - before;
    return std::pair(run.weights(), taken);
  };
  for (Setup s : setups) {
    s.capture = false;  // a graph's blocks are kept whatever the limit
    train(s);           // fills the pool
    const auto kept = train(s);
    memory.set_cache_limit(0);
    const auto fresh = train(s);
    memory.set_cache_limit(index_t{1} << 40);
    CHECK(fresh.first == kept.first);
    CHECK(fresh.second > 10 * (kept.second + 1));
  }
}

TEST_CASE("two runs on one GPU have the same bits") {
  const data::Dataset set = wave(12, 333);
  for (const Setup& s : setups) {
    Run a(set, s), b(set, s);
    a.steps(8), b.steps(8);
    CHECK(a.losses() == b.losses());
    CHECK(a.weights() == b.weights());
  }
}

TEST_CASE("recomputing changes no bit on the GPU") {
  const data::Dataset set = wave(12, 200);
  for (const bool bf16 : {false, true}) {
    Run kept(set, {.bf16 = bf16});
    kept.steps(5);
    for (const auto what : {models::Recompute::mlp, models::Recompute::block}) {
      CAPTURE(bf16);
      CAPTURE(static_cast<int>(what));
      Run again(set, {.bf16 = bf16, .recompute = what});
      again.steps(5);
      CHECK(again.weights() == kept.weights());
    }
  }
}

TEST_CASE("a resumed run has the bits of a straight one on the GPU") {
  const data::Dataset set = wave_on_grid();
  for (std::size_t i = 0; i < setups.size(); ++i) {
    CAPTURE(i);
    Run straight(set, setups[i]), first(set, setups[i]), second(set, setups[i]);
    straight.steps(10);
    first.steps(5);
    const Folder folder;
    first.trainer->save(folder.path);
    CHECK(second.trainer->load(folder.path).step == 5);
    second.steps(5);
    CHECK(second.weights() == straight.weights());
    CHECK(second.average() == straight.average());
  }
}

TEST_CASE("looking at the average between replays leaves the steps alone") {
  const data::Dataset set = wave(12, 100);
  for (const bool bf16 : {false, true}) {
    CAPTURE(bf16);
    Run straight(set, {.bf16 = bf16}), looked(set, {.bf16 = bf16});
    straight.steps(8);
    looked.steps(5);  // captured by now
    {
      const optim::AveragedWeights<float> averaged(*looked.trainer->ema());
      train::evaluate(*looked.model, set.test, set.y_norm, 4);
    }
    looked.steps(3);
    CHECK(looked.weights() == straight.weights());
  }
}

TEST_CASE("twenty steps follow the CPU's") {
  const data::Dataset set = wave_on_grid();
  for (std::size_t i = 0; i < setups.size(); ++i) {
    CAPTURE(i);
    Setup host = setups[i];
    host.device = Device::cpu;
    Run gpu(set, setups[i]), cpu(set, host);
    gpu.steps(20), cpu.steps(20);
    const auto a = gpu.trainer->take_reports(), b = cpu.trainer->take_reports();
    REQUIRE(a.size() == 20);
    // Training spreads differences; bf16 begins with larger ones, and Muon gives directions of noise
    // the same weight as all others.
    const double tolerance = (setups[i].bf16 ? 0.05 : 5e-3) * (setups[i].rule == Rule::muon ? 3 : 1);
    for (std::size_t n = 0; n < 20; ++n) {
      CAPTURE(n);
      CHECK(a[n].loss == doctest::Approx(b[n].loss).epsilon(n == 0 ? tolerance / 5 : tolerance));
      CHECK(a[n].lr == b[n].lr);
    }
    CHECK(a[0].grad_norm == doctest::Approx(b[0].grad_norm).epsilon(tolerance));
    const double on_gpu = train::evaluate(*gpu.model, set.test, set.y_norm, 4).relative_l2;
    const double on_cpu = train::evaluate(*cpu.model, set.test, set.y_norm, 4).relative_l2;
    CHECK(on_gpu == doctest::Approx(on_cpu).epsilon(4 * tolerance));
  }
}

TEST_CASE("checkpoints move between CPU and GPU") {
  const data::Dataset set = wave(12, 100);
  for (const bool to_gpu : {false, true}) {
    CAPTURE(to_gpu);
    Setup from, to;
    (to_gpu ? from : to).device = Device::cpu;
    Run first(set, from), second(set, to);
    first.steps(3);
    const Folder folder;
    first.trainer->save(folder.path);
    second.trainer->load(folder.path);
    CHECK(second.weights() == first.weights());
    CHECK(second.average() == first.average());
    first.steps(2), second.steps(2);
    CHECK(second.trainer->report().loss ==
          doctest::Approx(first.trainer->report().loss).epsilon(1e-3));
  }
}

TEST_CASE("a step that goes wrong on the GPU is named, and nothing is saved after it") {
  data::Dataset set = wave(12, 50);
  set.train.x[0] = NAN;  // in one batch of each epoch of 6 steps
  Run run(set, {}), host(set, {.device = Device::cpu});
  std::string on_host, on_gpu;
  try {
    host.steps(6);
  } catch (const Error& error) {
    on_host = error.what();
  }
  run.steps(6);  // asked for, not looked at
  for (float w : run.weights()) CHECK(std::isfinite(w));
  const Folder folder;
  try {
    run.trainer->save(folder.path);
  } catch (const Error& error) {
    on_gpu = error.what();
  }
  // "[train] step 4: the loss is …": the same step; NaNs may differ in sign.
  CHECK(on_gpu.find("[train] step ") == 0);
  CHECK(on_gpu.substr(0, on_gpu.find(':')) == on_host.substr(0, on_host.find(':')));
  CHECK(fs::is_empty(folder.path));
}

TEST_CASE("dropout in a captured step draws anew for every step, as a plain one does") {
  const auto run = [](bool capture) {
    CapturedStep<Tensor<float>> step(
        Device::cuda,
        [](const StepInputs& in) { return dropout(Tensor<float>(in[0]), 0.5); },
        {.enabled = capture});
    std::vector<std::vector<float>> all;
    const auto x = ones({1000});
    for (std::uint64_t n = 0; n < 6; ++n) {
      manual_seed(5);
      set_random_step(n);
      set_device_random_step(Device::cuda, n);
      all.push_back(step.run({x.ptr()}).to_vector());
    }
    CHECK(step.captured() == capture);
    return all;
  };
  const auto captured = run(true);
  CHECK(captured == run(false));
  CHECK(captured[4] != captured[5]);
}

TEST_CASE("a captured step keeps a few shapes, and takes any") {
  CapturedStep<Tensor<float>> step(
      Device::cuda, [](const StepInputs& in) { return sum(square(Tensor<float>(in[0]))); },
      {.warm_up = 1, .most_shapes = 2});
  for (int round = 0; round < 3; ++round)
    for (index_t n : {10, 1000, 31})
      for (int again = 0; again < 3; ++again) {
        const auto x = full({n}, static_cast<float>(again + 1));
        CHECK(step.run({x.ptr()}).item() ==
              doctest::Approx(static_cast<double>(n) * (again + 1) * (again + 1)));
      }
}

TEST_CASE("a step that cannot be captured goes on without") {
  double seen = 0;
  CapturedStep<Tensor<float>> step(Device::cuda, [&](const StepInputs& in) {
    const Tensor<float> y = sum(Tensor<float>(in[0]));
    seen = y.item();  // waits for the device, which a capture refuses
    return y;
  });
  for (int i = 1; i <= 6; ++i) {
    const auto x = full({8}, static_cast<float>(i));
    CHECK(step.run({x.ptr()}).item() == 8 * static_cast<float>(i));
    CHECK(seen == 8 * i);
  }
  CHECK_FALSE(step.captured());
}

TEST_CASE("a captured step gives its memory back") {
  const data::Dataset set = wave(12, 100);
  index_t left[2] = {};
  for (index_t& after : left) {  // the first time, what lives as long as the program is made
    const index_t before = memory_stats(Device::cuda).active;
    {
      Run run(set, {});
      run.steps(6);
      CHECK(memory_stats(Device::cuda).active > before);
    }
    after = memory_stats(Device::cuda).active;
  }
  CHECK(left[0] == left[1]);
}
