// The trainer: steps, reports, accumulation, bad numbers; and captured steps where nothing captures.
#include <doctest/doctest.h>

#include <filesystem>

#include "flr/train/evaluate.hpp"
#include "flr/train/trainer.hpp"

using namespace flr;
namespace fs = std::filesystem;

namespace {

// Samples x [12,8,2], y = sin of it, in memory.
data::Dataset small_set(index_t samples = 12) {
  manual_seed(11);
  data::Dataset set;
  set.train.c_in = 2, set.train.c_out = 1;
  set.train.x = rand({samples, 8, 2}).to_vector();
  for (std::size_t i = 0; i < set.train.x.size(); i += 2)
    set.train.y.push_back(std::sin(5 * set.train.x[i]) + set.train.x[i + 1]);
  set.train.offsets = {0};
  for (index_t i = 1; i <= samples; ++i) set.train.offsets.push_back(8 * i);
  set.test = set.train;
  set.x_norm = {{0, 0}, {1, 1}};
  set.y_norm = {{0.5}, {2}};
  return set;
}

models::FlareOptions small() {
  models::FlareOptions o;
  o.channels = 8, o.heads = 2, o.latents = 3, o.blocks = 1;
  return o;
}

struct Run {
  data::Dataset set = small_set();
  std::unique_ptr<models::Flare<float>> model;
  std::unique_ptr<optim::Optimizer<float>> optimizer;
  std::unique_ptr<train::Trainer<float>> trainer;

  explicit Run(train::TrainerOptions options, bool bf16 = false, bool muon = false) {
    manual_seed(12);
    model = std::make_unique<models::Flare<float>>(small());
    model->activate_in_bf16(bf16);
    if (muon) optimizer = std::make_unique<optim::Muon<float>>(*model, optim::MuonOptions{});
    else optimizer = std::make_unique<optim::AdamW<float>>(*model, optim::AdamOptions{.lr = 3e-3});
    trainer = std::make_unique<train::Trainer<float>>(*model, *optimizer, set, options);
  }
  void steps(int n) {
    for (int i = 0; i < n; ++i) trainer->step();
  }
  std::vector<float> weights() { return model->arena().values.to_vector(); }
};

struct Folder {
  fs::path path = fs::temp_directory_path() / ("flr-steps-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

}  // namespace

TEST_CASE("a captured step on the CPU is a plain call") {
  int calls = 0;
  CapturedStep<Tensor<float>> step(Device::cpu, [&](const StepInputs& in) {
    ++calls;
    return Tensor<float>(in[0]) * 2;
  });
  for (int i = 1; i <= 4; ++i) {
    const auto x = full({3}, static_cast<float>(i));
    CHECK(step.run({x.ptr()}).to_vector() == std::vector<float>(3, 2.0f * static_cast<float>(i)));
  }
  CHECK(calls == 4);
  CHECK_FALSE(step.captured());
  const index_t before = memory_stats().active;
  step.run({zeros({100}).ptr()});  // the result before is given back first
  step.run({zeros({100}).ptr()});
  CHECK(memory_stats().active <= before + Pool::rounded(400));
}

TEST_CASE("every step has its report, until it is taken") {
  Run run({.epochs = 2, .batch_size = 3, .ema_decay = 0.9});
  CHECK(run.trainer->total_steps() == 8);
  run.steps(5);
  CHECK(run.trainer->report().step == 5);
  const auto reports = run.trainer->take_reports();
  REQUIRE(reports.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(reports[i].step == static_cast<index_t>(i) + 1);
    CHECK(reports[i].loss > 0);
    CHECK(reports[i].grad_norm > 0);
    CHECK(reports[i].lr == 3e-3);
  }
  CHECK(run.trainer->take_reports().empty());
  run.steps(3);
  CHECK(run.trainer->done());
  CHECK(run.trainer->take_reports().size() == 3);
}

TEST_CASE("micro-batches add up to the batch") {
  Run whole({.epochs = 1, .batch_size = 4}), parts({.epochs = 1, .batch_size = 2, .accumulate = 2});
  whole.steps(3), parts.steps(3);
  const auto a = whole.trainer->take_reports(), b = parts.trainer->take_reports();
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(b[i].loss == doctest::Approx(a[i].loss).epsilon(1e-5));
    CHECK(b[i].grad_norm == doctest::Approx(a[i].grad_norm).epsilon(1e-4));
  }
}

TEST_CASE("a step that goes wrong is named, changes nothing, and is never saved") {
  Run run({.epochs = 4, .batch_size = 3});
  run.steps(2);
  const auto before = run.weights();
  const_cast<float&>(run.set.train.x[0]) = NAN;  // in one batch of the epoch
  std::string message;
  try {
    run.steps(4);
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(message.find("[train] step ") == 0);
  CHECK(message.find("the loss is nan and the gradient norm") != message.npos);
  for (float w : run.weights()) CHECK(std::isfinite(w));
  const Folder folder;
  CHECK_THROWS_WITH_AS(run.trainer->save(folder.path), message.c_str(), Error);
  CHECK(fs::is_empty(folder.path));
}

TEST_CASE("what was good is reported before the error") {
  train::StepReports reports(Device::cpu);
  reports.add({1, 0.5, 1, 0});
  CHECK_THROWS_WITH_AS(reports.add({2, NAN, 1, 0}),
                       "[train] step 2: the loss is nan and the gradient norm 1", Error);
  CHECK_THROWS_AS(reports.add({3, 0.5, 1, 0}), Error);
  CHECK(reports.take().size() == 1);
  CHECK_THROWS_WITH_AS(reports.take(), doctest::Contains("step 2"), Error);
  reports.restart({1, 0.5, 0, 0});
  CHECK(reports.last().step == 1);
}

TEST_CASE("a resumed run has the bits of a straight one, in bf16 and with Muon too") {
  for (const bool bf16 : {false, true})
    for (const bool muon : {false, true}) {
      CAPTURE(bf16);
      CAPTURE(muon);
      const train::TrainerOptions options{.epochs = 3, .batch_size = 3, .ema_decay = 0.9};
      Run straight(options, bf16, muon), first(options, bf16, muon), second(options, bf16, muon);
      straight.steps(7);
      first.steps(4);
      const Folder folder;
      first.trainer->save(folder.path);
      CHECK(second.trainer->load(folder.path).step == 4);
      CHECK(second.trainer->report().loss == first.trainer->report().loss);
      second.steps(3);
      CHECK(second.weights() == straight.weights());
      CHECK(second.trainer->ema()->shadow().to_vector() ==
            straight.trainer->ema()->shadow().to_vector());
    }
}

TEST_CASE("evaluation between steps leaves them alone, with averaged weights in bf16 too") {
  const train::TrainerOptions options{.epochs = 3, .batch_size = 3, .ema_decay = 0.5};
  Run straight(options, true), looked(options, true);
  straight.steps(6);
  looked.steps(3);
  const double raw =
      train::evaluate(*looked.model, looked.set.test, looked.set.y_norm, 4).relative_l2;
  {
    const optim::AveragedWeights<float> averaged(*looked.trainer->ema());
    const double ema =
        train::evaluate(*looked.model, looked.set.test, looked.set.y_norm, 4).relative_l2;
    CHECK(ema != raw);
  }
  CHECK(train::evaluate(*looked.model, looked.set.test, looked.set.y_norm, 4).relative_l2 == raw);
  looked.steps(3);
  CHECK(looked.weights() == straight.weights());
}
