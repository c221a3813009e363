// Optimiser steps, square sums, averages and conversions on the GPU; models; memory.
#include "compare.hpp"

using namespace cuda_test;

namespace {

template <class T>
Tensor<T> on_gpu(const std::vector<T>& v) {
  return from_vector(v, {static_cast<index_t>(v.size())}, Device::cuda);
}

std::vector<float> numbers(index_t n, double seed) {
  std::vector<float> v;
  for (index_t i = 0; i < n; ++i) v.push_back(static_cast<float>(std::sin(seed + 1.7 * double(i))));
  return v;
}

}  // namespace

TEST_CASE("cuda optimiser steps equal the CPU's") {
  const index_t n = 40100;
  const ArenaRange ranges[] = {{3, 20}, {64, 64}, {100, 40011}, {40050, 40051}};
  for (UpdateRule rule : {UpdateRule::adamw, UpdateRule::adam_l2, UpdateRule::sgd, UpdateRule::lion,
                          UpdateRule::lion_legacy})
    for (bool clipped : {false, true}) {
      CAPTURE(static_cast<int>(rule));
      CAPTURE(clipped);
      std::vector<float> p = numbers(n, 1), m(p.size()), v(p.size());
      std::vector<bf16> shadow(p.size());
      Tensor<float> gp = on_gpu(p), gm = on_gpu(m), gv = on_gpu(v);
      Tensor<bf16> gs = on_gpu(shadow);
      DeviceValues<StepScalars> cpu_scalars(1, Device::cpu), gpu_scalars(1, Device::cuda);
      DeviceValues<double> cpu_norm(1, Device::cpu), gpu_norm(1, Device::cuda);
      for (int step = 1; step <= 3; ++step) {
        const std::vector<float> g = numbers(n, 10 + step);
        const Tensor<float> gg = on_gpu(g);
        StepScalars s{1e-2, 0.9, 0.99, 0.1, 1 - std::pow(0.9, step), 1 - std::pow(0.99, step), 0.5};
        s.clip = clipped ? 1 : 0, s.step = step;
        cpu_scalars.set(&s), gpu_scalars.set(&s);
        UpdateParams<float> u;
        u.rule = rule, u.ranges = ranges, u.range_count = 4, u.nesterov = true;
        u.p = p.data(), u.g = g.data(), u.m = m.data(), u.v = v.data(), u.shadow = shadow.data();
        u.s = cpu_scalars.data();
        cpu_backend<float>().sum_squares(g.data(), n, cpu_norm.data());
        if (clipped) u.norm_squared = cpu_norm.data();
        cpu_backend<float>().update(u);
        u.p = gp.mutable_data(), u.g = gg.data(), u.m = gm.mutable_data(), u.v = gv.mutable_data();
        u.shadow = gs.mutable_data(), u.s = gpu_scalars.data();
        backend<float>(Device::cuda).sum_squares(gg.data(), n, gpu_norm.data());
        if (clipped) u.norm_squared = gpu_norm.data();
        backend<float>(Device::cuda).update(u);
        CHECK(gpu_norm.get() == doctest::Approx(cpu_norm.get()).epsilon(1e-13));
      }
      const std::vector<double> expected(p.begin(), p.end());
      CHECK(relative(doubles(gp), expected) < 2e-6);
      std::vector<double> rounded;
      for (bf16 x : shadow) rounded.push_back(static_cast<float>(x));
      CHECK(relative(doubles(gs), rounded) < 1e-3);
    }
}

TEST_CASE("cuda: a gradient that is not finite leaves the weights alone") {
  std::vector<float> p = numbers(1000, 1), g = numbers(1000, 2);
  g[500] = NAN;
  Tensor<float> gp = on_gpu(p), gg = on_gpu(g), gm = on_gpu(p), gv = on_gpu(p);
  DeviceValues<StepScalars> scalars(1, Device::cuda);
  DeviceValues<double> norm(1, Device::cuda);
  StepScalars s;
  s.lr = 0.1, s.clip = 1;
  scalars.set(&s);
  const ArenaRange all{0, 1000};
  backend<float>(Device::cuda).sum_squares(gg.data(), 1000, norm.data());
  UpdateParams<float> u;
  u.ranges = &all, u.range_count = 1;
  u.p = gp.mutable_data(), u.g = gg.data(), u.m = gm.mutable_data(), u.v = gv.mutable_data();
  u.s = scalars.data(), u.norm_squared = norm.data();
  backend<float>(Device::cuda).update(u);
  CHECK(gp.to_vector() == p);
}

TEST_CASE_TEMPLATE("cuda square sums, averages and conversions", T, float, double, bf16) {
  for (index_t n : {1, 31, 100003}) {
    std::vector<T> a, b;
    for (float x : numbers(n, 1)) a.push_back(static_cast<T>(x));
    for (float x : numbers(n, 2)) b.push_back(static_cast<T>(x));
    DeviceValues<double> norm(1, Device::cuda);
    const Tensor<T> x = on_gpu(a);
    backend<T>(Device::cuda).sum_squares(x.data(), n, norm.data());
    long double sum = 0;
    for (T v : a) sum += static_cast<long double>(static_cast<double>(v)) * static_cast<double>(v);
    CHECK(norm.get() == doctest::Approx(static_cast<double>(sum)).epsilon(1e-13));
    Tensor<T> shadow = on_gpu(b);
    backend<T>(Device::cuda).ema(shadow.mutable_data(), x.data(), n, 0.9);
    std::vector<T> cpu = b;
    cpu_backend<T>().ema(cpu.data(), a.data(), n, 0.9);
    CHECK(relative(doubles(shadow), doubles(from_vector(cpu))) < (sizeof(T) == 2 ? 4e-3 : 1e-6));
    CHECK(x.template to<float>().to_vector() == from_vector(a).template to<float>().to_vector());
    CHECK(x.template to<double>().to_vector() == from_vector(a).template to<double>().to_vector());
    const auto narrow = x.template to<bf16>().to_vector(), narrow_cpu = from_vector(a).template to<bf16>().to_vector();
    bool same = true;
    for (std::size_t i = 0; i < narrow.size(); ++i) same = same && narrow[i].bits == narrow_cpu[i].bits;
    CHECK(same);
  }
}

TEST_CASE("cuda: a FLARE model has the CPU's loss and gradients") {
  models::FlareOptions o;
  o.channels = 64, o.heads = 8, o.latents = 32, o.blocks = 2;
  manual_seed(11);
  models::Flare<double> cpu(o), gpu(o);
  for (std::size_t i = 0; i < cpu.parameters().size(); ++i)
    gpu.parameters()[i].value.copy_(cpu.parameters()[i].value);
  gpu.to(Device::cuda);
  const auto x = rand<double>({2, 333, 2}), y = randn<double>({2, 333, 1});
  auto loss = relative_l2(cpu(x), y);
  backward(loss);
  auto other = relative_l2(gpu(x.to(Device::cuda)), y.to(Device::cuda));
  backward(other);
  CHECK(other.item() == doctest::Approx(loss.item()).epsilon(1e-12));
  for (std::size_t i = 0; i < cpu.parameters().size(); ++i) {
    CAPTURE(cpu.parameters()[i].name);
    CHECK(relative(doubles(gpu.parameters()[i].value.grad()), doubles(cpu.parameters()[i].value.grad())) < 1e-9);
  }
}

TEST_CASE("cuda: gradcheck in double on the device") {
  manual_seed(12);
  using Inputs = std::vector<Tensor<double>>;
  const auto on_device = [](const char* name, auto f, const std::vector<Shape>& shapes) {
    CAPTURE(name);
    Inputs x;
    for (const Shape& shape : shapes) x.push_back(randn<double>(shape));
    const auto there = [&](const Inputs& t) {
      Inputs moved;
      for (const auto& one : t) moved.push_back(one.to(Device::cuda));
      return f(moved).to(Device::cpu);
    };
    CHECK(gradcheck(there, x).ok);
  };
  const Shape tokens{2, 2, 5, 4};
  on_device("flare_mixer", [](const Inputs& x) { return flare_mixer(x[0], x[1], x[2], 1); },
            {{2, 3, 4}, tokens, tokens});
  on_device("sdpa", [](const Inputs& x) { return sdpa(x[0], x[1], x[2], {.causal = true}); },
            {tokens, tokens, tokens});
  on_device("linear", [](const Inputs& x) { return linear(x[0], x[1], x[2], Activation::gelu_tanh); },
            {{7, 5}, {3, 5}, {3}});
  on_device("layer_norm", [](const Inputs& x) { return layer_norm(x[0], x[1], x[2]); }, {{4, 6}, {6}, {6}});
  on_device("softmax", [](const Inputs& x) { return softmax(x[0], 1); }, {{3, 5, 2}});
  on_device("residual_mlp", [](const Inputs& x) {
    return residual_mlp<double>(x[0], {x[1], x[2], x[3]}, {x[4], x[5], x[6]}, {true, true});
  }, {{5, 4}, {4, 4}, {4, 4}, {4, 4}, {4}, {4}, {4}});
  on_device("relative_l2", [](const Inputs& x) { return relative_l2(x[0], x[1]); }, {{3, 7}, {3, 7}});
  const auto index = from_vector<index_t>({3, 0, 3, 1}, {2, 2}).to(Device::cuda);
  on_device("gather", [&](const Inputs& x) { return gather(x[0], 0, index); }, {{4, 2}});
  on_device("embedding", [&](const Inputs& x) { return embedding(index, x[0]); }, {{4, 3}});
  on_device("linear attention", [](const Inputs& x) {
    return mixers::linear_attention(map(exp(_1), x[0]), map(exp(_1), x[1]), x[2]);
  }, {tokens, tokens, tokens});
  on_device("causal linear attention", [](const Inputs& x) {
    return mixers::causal_linear_attention(map(exp(_1), x[0]), map(exp(_1), x[1]), x[2]);
  }, {tokens, tokens, tokens});
  on_device("causal FLARE", [](const Inputs& x) { return mixers::causal_flare(x[0], x[1], x[2]); },
            {{2, 3, 4}, tokens, tokens});
  on_device("triple attention", [](const Inputs& x) {
    return mixers::triple_attention(x[0], x[1], x[2], x[3], x[4]);
  }, {tokens, tokens, tokens, tokens, tokens});
}

TEST_CASE("cuda: more than 2^31 elements") {
  if (small()) return;
  const index_t n = (index_t{1} << 31) + 1027;
  Tensor<bf16> x = full<bf16>({n}, bf16(1.0f), Device::cuda);
  x = map(_1 * 0.5, x);
  CHECK(static_cast<float>(x.slice(0, n - 2, n).to_vector()[1]) == 0.5f);
  const auto rows = x.slice(0, 0, index_t{1} << 31).reshape({1 << 16, 1 << 15});
  const auto sums = sum(rows, {1}).to_vector();
  CHECK(static_cast<float>(sums.back()) == doctest::Approx(16384).epsilon(1e-2));
  pool(Device::cuda).trim();
}

TEST_CASE("cuda: rows beyond 2^31 elements in norms, softmax, copies, embeddings and gathers") {
  constexpr index_t cols = 64, rows = (index_t{1} << 31) / cols + 3;
  constexpr index_t needed = 3 * rows * cols * index_t{sizeof(bf16)};
  if (small() || detail::require_cuda().free_memory() < needed) {
    MESSAGE("skipped: needs " << needed << " bytes of the GPU, and FLR_TEST_SMALL unset");
    return;
  }
  const NoGrad scope;
  auto x = full<bf16>({rows, cols}, bf16(1.0f), Device::cuda);
  manual_seed(31);
  const auto end = randn<float>({5, cols}).to<bf16>().to(Device::cuda);  // the last rows, on both sides of 2^31
  x.slice(0, rows - 5, rows).copy_(end);
  const auto last = [&](const Tensor<bf16>& y) { return doubles(y.slice(0, rows - 5, rows).clone()); };
  CHECK(last(x) == doubles(end));
  CHECK(last(softmax(x, 1)) == doubles(softmax(end, 1)));
  CHECK(last(layer_norm(x)) == doubles(layer_norm(end)));
  const auto index = from_vector<index_t>({rows - 1, 0, rows - 4}, {3}).to(Device::cuda);
  const auto few = from_vector<index_t>({4, 1}, {2}).to(Device::cuda);
  const auto taken = doubles(embedding(index, x)), expected = doubles(embedding(few, end));
  for (std::size_t i = 0; i < cols; ++i) {
    CHECK(taken[i] == expected[i]);
    CHECK(taken[cols + i] == 1);
    CHECK(taken[2 * cols + i] == expected[cols + i]);
  }
  const auto places =
      broadcast_to(from_vector<index_t>({rows - 1, rows - 4}, {2, 1}), {2, cols}).clone().to(Device::cuda);
  CHECK(doubles(gather(x, 0, places)) == expected);
  const auto columns = x.transpose(0, 1).clone();  // each column is 2^25 + 3 elements long
  CHECK(doubles(columns.slice(1, rows - 5, rows).clone()) == doubles(end.transpose(0, 1).clone()));
  pool(Device::cuda).trim();
}

TEST_CASE("cuda: large inputs of a step arrive before it, and whole") {
  // 32 MB take longer on the bus than the step, which would find those of four steps before.
  const index_t n = index_t{1} << (small() ? 17 : 23);
  CapturedStep<Tensor<float>> step(Device::cuda,
                                   [](const StepInputs& in) { return Tensor<float>(in[0]) * 1.0f; });
  std::vector<Tensor<float>> results;
  for (int i = 1; i <= 12; ++i) {
    const auto x = full({n}, static_cast<float>(i));
    results.push_back(step.run({x.ptr()}).slice(0, n - 1000, n).clone());
  }
  for (std::size_t i = 0; i < results.size(); ++i)
    CHECK(results[i].to_vector() == std::vector<float>(1000, static_cast<float>(i + 1)));
}

TEST_CASE("cuda: memory returns to what it was") {
  const index_t before = memory_stats(Device::cuda).active;
  {
    auto q = randn<float>({2, 2, 33, 8}, Device::cuda).requires_grad(true);
    auto loss = sum(square(sdpa(q, q, q)));
    backward(loss);
    CHECK(memory_stats(Device::cuda).active > before);
  }
  CHECK(memory_stats(Device::cuda).active == before);
}
