// Models whose activations are bf16: parameters stay float, with a rounded copy beside them.
#include <doctest/doctest.h>

#include "flr/flr.hpp"

using namespace flr;

namespace {

models::FlareOptions small() {
  models::FlareOptions o;
  o.channels = 16, o.heads = 2, o.latents = 5, o.blocks = 2;
  return o;
}

// ‖a − b‖/‖b‖
double distance(const Tensor<float>& a, const Tensor<float>& b) {
  const auto x = a.to_vector(), y = b.to_vector();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    difference += (x[i] - y[i]) * static_cast<double>(x[i] - y[i]);
    norm += y[i] * static_cast<double>(y[i]);
  }
  return std::sqrt(difference / norm);
}

// The gradients of a model's loss, in the arena.
Tensor<float> gradients(models::Model<float>& model, const Tensor<float>& x, const Tensor<float>& y) {
  model.arena();
  model.zero_grad();
  backward(relative_l2(model.apply(x), y));
  return model.arena().gradients.clone();
}

}  // namespace

TEST_CASE("the bf16 copy follows its parameters") {
  manual_seed(1);
  nn::Linear<float> layer(3, 4);
  const auto x = randn({5, 3}).to<bf16>();
  const auto converted = layer(x).to_vector();  // without a copy: converted where it is used
  layer.keep_bf16();
  CHECK(layer(x).to_vector() == converted);
  layer.weight.fill_(1);  // in place, from outside
  CHECK(layer.weight_as<bf16>().to_vector() == layer.weight.to<bf16>().to_vector());
  optim::AdamW<float> optimizer(layer, {.lr = 0.1});
  backward(sum(layer(x)));
  optimizer.step();
  CHECK(layer.weight_as<bf16>().to_vector() == layer.weight.to<bf16>().to_vector());
  CHECK(layer.weight.to_vector()[0] != 1);
}

TEST_CASE("gradients of the bf16 copy arrive in the parameters' own, in float") {
  manual_seed(2);
  nn::Linear<float> layer(8, 6);
  layer.keep_bf16();
  const auto x = randn({40, 8}).to<bf16>(), seed = randn({40, 6}).to<bf16>();
  backward(layer(x), seed);
  // The same in float, from the rounded inputs: only sums differ.
  const auto exact = matmul(transpose(seed.to<float>(), 0, 1), x.to<float>());
  CHECK(distance(layer.weight.grad(), exact) < 1e-5);
}

TEST_CASE("all models run in bf16, near their results in float") {
  manual_seed(3);
  std::vector<std::unique_ptr<models::Model<float>>> list;
  auto normed = small();
  normed.qk_norm = normed.rmsnorm = true;
  list.push_back(std::make_unique<models::Flare<float>>(small()));
  list.push_back(std::make_unique<models::Flare<float>>(normed));
  models::TransformerOptions t;
  t.channels = 16, t.heads = 2, t.blocks = 2;
  list.push_back(std::make_unique<models::Transformer<float>>(t));
  models::FlareAblationsOptions a;
  a.channels = 16, a.heads = 2, a.latents = 5, a.blocks = 2, a.latent_blocks = 1;
  list.push_back(std::make_unique<models::FlareAblations<float>>(a));
  const auto x = rand({2, 30, 2});
  for (const auto& model : list) {
    CAPTURE(model->name());
    const auto exact = model->apply(x);
    model->activate_in_bf16(true);
    CHECK(model->apply(x).dtype() == DType::f32);
    CHECK(distance(model->apply(x), exact) < 0.05);
    CHECK(distance(model->apply(x), exact) > 0);
  }
}

// Coordinates of a fine grid are closer to each other than bf16's numbers.
TEST_CASE("in_bf16 keeps inputs apart that bf16 does not") {
  nn::ResidualMLP<float> layer(1, 1, 1, -1);
  layer.parameter("fc.weight").fill_(100);
  layer.parameter("fc.bias").fill_(-75);
  const auto x = from_vector<float>({0.75f, 0.75f + 1.0f / 1024}, {2, 1});
  CHECK(static_cast<float>(layer(x.to<bf16>()).to_vector()[1]) == 0);
  const auto y = layer.in_bf16(x);
  CHECK(static_cast<float>(y.to_vector()[0]) == 0);
  CHECK(static_cast<float>(y.to_vector()[1]) == 100.0f / 1024);
  backward(sum(y));
  CHECK(layer.parameter("fc.weight").grad().item() == doctest::Approx(1.5).epsilon(0.01));

  manual_seed(6);
  nn::ResidualMLP<float> mlp(2, 32, 32, 2);
  const auto points = rand({100, 2});
  const auto exact = mlp(points);
  const double rounded = distance(mlp(points.to<bf16>()).to<float>(), exact);
  CHECK(distance(mlp.in_bf16(points).to<float>(), exact) <= rounded);
}

TEST_CASE("a model without bf16 says so") {
  const models::Flare<double> model(small());
  CHECK_THROWS_WITH_AS(model(rand({1, 4, 2}).to<bf16>()), doctest::Contains("not in bf16"), Error);
}

TEST_CASE("bf16 gradients are as near to float's as those of plain operations in bf16") {
  manual_seed(4);
  models::Flare<float> model(small());
  const auto x = rand({2, 64, 2}), y = randn({2, 64, 1});
  const auto exact = gradients(model, x, y);
  // Plain: parameters converted where they are used, and their gradients back.
  model.zero_grad();
  backward(relative_l2(model(x.to<bf16>()).to<float>(), y));
  const double plain = distance(model.arena().gradients, exact);
  model.activate_in_bf16(true);
  const double kept = distance(gradients(model, x, y), exact);
  MESSAGE("relative error of the gradients: ", kept, ", of plain operations: ", plain);
  CHECK(kept <= 2 * plain);
  CHECK(kept > 0);
}

TEST_CASE("FLARE learns in bf16") {
  manual_seed(5);
  models::Flare<float> model(small());
  model.activate_in_bf16(true);
  optim::AdamW<float> optimizer(model, {.lr = 5e-3});
  const auto x = rand({2, 50, 2});
  const auto y = map(sin(6.0 * _1), slice(x, 2, 0, 1));
  float first = 0, last = 0;
  for (int i = 0; i < 60; ++i) {
    optimizer.zero_grad();
    const auto loss = relative_l2(model.apply(x), y);
    backward(loss);
    optimizer.step();
    (i == 0 ? first : last) = loss.item();
  }
  MESSAGE("relative L2 from ", first, " to ", last);
  CHECK(last < 0.5f * first);
}

TEST_CASE("recomputing changes no bit, in float and in bf16") {
  using models::Recompute;
  for (const bool bf16_too : {false, true}) {
    CAPTURE(bf16_too);
    manual_seed(6);
    models::Flare<float> model(small());
    model.activate_in_bf16(bf16_too);
    const auto x = rand({2, 40, 2}), y = randn({2, 40, 1});
    const auto kept = gradients(model, x, y).to_vector();
    for (const Recompute what : {Recompute::mlp, Recompute::block}) {
      model.set_recompute(what);
      CHECK(gradients(model, x, y).to_vector() == kept);
    }
  }
}

TEST_CASE("recomputing blocks takes less memory") {
  manual_seed(7);
  auto o = small();
  o.blocks = 6;
  models::Flare<float> model(o);
  model.arena();
  const auto x = rand({1, 4000, 2}), y = randn({1, 4000, 1});
  std::vector<index_t> peaks;
  for (const auto what : {models::Recompute::none, models::Recompute::block}) {
    model.set_recompute(what);
    gradients(model, x, y);
    const index_t before = memory_stats().active;
    detail::cpu_pool().reset_peak();
    gradients(model, x, y);
    peaks.push_back(memory_stats().peak - before);
  }
  CHECK(2 * peaks[1] < peaks[0]);
}

TEST_CASE("a module moves to a device once, and to the one it is on as often as one likes") {
  models::Flare<float> model(small());
  const auto weight = model.parameter("in_proj.fc1.weight");
  const auto values = weight.to_vector();
  model.to(Device::cpu);
  model.to(Device::cpu);
  CHECK(model.device() == Device::cpu);
  CHECK(weight.to_vector() == values);
  if (!detail::cuda_runtime())
    CHECK_THROWS_WITH_AS(model.to(Device::cuda), doctest::Contains("an arena on cpu"), Error);
}
