// The CPU table's random numbers, dropout, optimiser steps and passes over an arena.
#include "cpu_table_values.hpp"
#include "flr/core/philox.hpp"

using namespace table_test;

namespace {

TEST_CASE_TEMPLATE("element i of a draw depends on (seed, step, call, i) alone", T, float, double,
                   bf16) {
  const index_t n = 40003;
  for (const Distribution kind : {Distribution::uniform, Distribution::normal}) {
    const auto draw = [&](index_t count, std::uint64_t seed, std::uint64_t step,
                          std::uint64_t call) {
      return on_any_threads(std::vector<T>(static_cast<std::size_t>(count)),
                            [&](std::vector<T>& x) {
                              cpu_backend<T>().random({count, kind, seed, step, call, x.data()});
                            });
    };
    const auto x = draw(n, 7, 3, 1);
    auto start = draw(17, 7, 3, 1);
    CHECK(same_bits(start, std::vector<T>(x.begin(), x.begin() + 17)));
    CHECK(!same_bits(x, draw(n, 8, 3, 1)));
    CHECK(!same_bits(x, draw(n, 7, 4, 1)));
    CHECK(!same_bits(x, draw(n, 7, 3, 2)));
    double mean = 0, square = 0, fourth = 0, neighbour = 0, low = 1e9, high = -1e9;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = value(x[i]), centred = kind == Distribution::uniform ? v - 0.5 : v;
      mean += centred / n, square += centred * centred / n, fourth += std::pow(centred, 4) / n;
      neighbour += i ? centred * (value(x[i - 1]) - (centred != v ? 0.5 : 0)) / n : 0;
      low = std::fmin(low, v), high = std::fmax(high, v);
    }
    const double variance = kind == Distribution::uniform ? 1.0 / 12 : 1;
    const double sigma = std::sqrt(variance / n);  // of the mean
    CHECK(std::abs(mean) < 5 * sigma);
    CHECK(std::abs(square / variance - 1) < 0.05);
    CHECK(std::abs(fourth / (kind == Distribution::uniform ? 1.0 / 80 : 3) - 1) < 0.1);
    CHECK(std::abs(neighbour) < 5 * variance / std::sqrt(n));
    if (kind == Distribution::uniform) {
      CHECK(low >= 0);
      CHECK(high <= 1);
    }
  }
}

TEST_CASE_TEMPLATE("draws are the words of the Philox blocks, normals by Box and Muller", T, float,
                   double) {
  const index_t n = 1003;
  const std::uint64_t seed = 0x123456789ABCDEF0, step = 0x9876543210, call = 77;
  std::vector<T> u(n), z(n);
  cpu_backend<T>().random({n, Distribution::uniform, seed, step, call, u.data()});
  cpu_backend<T>().random({n, Distribution::normal, seed, step, call, z.data()});
  constexpr index_t per_block = sizeof(T) == 4 ? 4 : 2;
  const auto uniform = [&](index_t i) {
    const auto word = stream_block(seed, step, call, static_cast<std::uint64_t>(i / per_block));
    const auto j = static_cast<std::size_t>(i % per_block);
    if constexpr (sizeof(T) == 4)
      return uniform_float(word[j]);
    else
      return uniform_double(word[2 * j], word[2 * j + 1]);
  };
  std::vector<double> normal;
  for (index_t i = 0; i < n; ++i) {
    CHECK(u[static_cast<std::size_t>(i)] == uniform(i));
    const index_t first = i / 2 * 2;
    const auto pair = normal_pair<long double>(uniform(first), uniform(first + 1));
    normal.push_back(static_cast<double>(pair[static_cast<std::size_t>(i % 2)]));
  }
  check_close(z, normal, 4 * unit<T>);
  // Blocks beyond 2³² of one call and blocks of other calls are different counters.
  CHECK(stream_block(5, 6, 7, std::uint64_t{1} << 32) != stream_block(5, 6, 7, 0));
  CHECK(stream_block(5, 6, 7, std::uint64_t{1} << 32) != stream_block(5, 6, 8, 0));
}

TEST_CASE_TEMPLATE("dropout keeps 1 − p and has one mask for all types", T, float, double, bf16) {
  const index_t n = 50001;
  const std::vector<T> ones(static_cast<std::size_t>(n), make<T>(1));
  const std::vector<double> wide(ones.size(), 1.0);
  std::vector<double> mask(ones.size());
  cpu_backend<double>().dropout({n, 0.3, 1, 2, 3, wide.data(), mask.data(), false});
  double kept = 0;
  for (const double m : mask) kept += m != 0;
  CHECK(std::abs(kept / n - 0.7) < 5 * std::sqrt(0.21 / n));
  for (const bool accumulate : {false, true}) {
    const auto x = values<T>(n, 1), before = values<T>(n, 2);
    std::vector<double> expected;
    for (std::size_t i = 0; i < x.size(); ++i)
      expected.push_back((mask[i] != 0 ? value(x[i]) / 0.7 : 0) +
                         (accumulate ? value(before[i]) : 0));
    const auto y = on_any_threads(before, [&](std::vector<T>& out) {
      cpu_backend<T>().dropout({n, 0.3, 1, 2, 3, x.data(), out.data(), accumulate});
    });
    check_close(y, expected, 2 * unit<T>);
  }
}

struct Trajectory {
  double p, m = 0, v = 0;
};

/// One element, one step, by the published formulas.
void exact_step(const UpdateParams<double>& u, Trajectory& t, double gradient) {
  const StepScalars& s = *u.s;
  double g = gradient * s.grad_scale;
  const auto sign = [](double x) { return (x > 0) - (x < 0); };
  switch (u.rule) {
    case UpdateRule::adamw:
    case UpdateRule::adam_l2:
      if (u.rule == UpdateRule::adam_l2)
        g += s.weight_decay * t.p;
      else
        t.p -= s.lr * s.weight_decay * t.p;
      t.m = s.beta1 * t.m + (1 - s.beta1) * g;
      t.v = s.beta2 * t.v + (1 - s.beta2) * g * g;
      t.p -= s.lr * (t.m / s.correction1) / (std::sqrt(t.v / s.correction2) + u.eps);
      return;
    case UpdateRule::lion:
      t.p -= s.lr * (sign(s.beta1 * t.m + (1 - s.beta1) * g) + s.weight_decay * t.p);
      t.m = s.beta2 * t.m + (1 - s.beta2) * g;
      return;
    case UpdateRule::lion_legacy:
      t.m = s.beta1 * t.m + (1 - s.beta1) * (g + s.weight_decay * t.p);
      t.p -= s.lr * sign(t.m);
      return;
    case UpdateRule::sgd:
      g += s.weight_decay * t.p;
      if (u.m) {
        t.m = s.step == 1 ? g : s.beta1 * t.m + (1 - u.dampening) * g;
        g = u.nesterov ? g + s.beta1 * t.m : t.m;
      }
      t.p -= s.lr * g;
  }
}

struct Rule {
  UpdateRule rule;
  double momentum = 0, dampening = 0;
  bool nesterov = false;
};

TEST_CASE_TEMPLATE("optimiser steps over ranges of an arena", T, float, double) {
  const Rule rules[] = {{UpdateRule::adamw},
                        {UpdateRule::adam_l2},
                        {UpdateRule::lion},
                        {UpdateRule::lion_legacy},
                        {UpdateRule::sgd},
                        {UpdateRule::sgd, 0.9, 0.1},
                        {UpdateRule::sgd, 0.9, 0, true}};
  const index_t n = 40100;
  const ArenaRange ranges[] = {{3, 20}, {64, 64}, {100, 40011}, {40050, 40051}};
  for (const Rule& rule : rules) {
    CAPTURE(static_cast<int>(rule.rule));
    CAPTURE(rule.momentum);
    const auto start = values<T>(n, 1);
    std::vector<Trajectory> exact;
    for (const T p : start) exact.push_back({value(p)});
    auto p = start;
    std::vector<T> m(p.size()), v(p.size());
    for (int step = 1; step <= 5; ++step) {
      const auto g = values<T>(n, 10 + static_cast<unsigned>(step));
      StepScalars scalars{1e-2, 0.9, 0.99, 0.1, 1 - std::pow(0.9, step), 1 - std::pow(0.99, step), 0.5};
      scalars.step = step;
      if (rule.rule == UpdateRule::sgd) scalars.beta1 = rule.momentum;
      const auto fill = [&]<class U>(UpdateParams<U>& u) {
        u.rule = rule.rule;
        u.ranges = ranges, u.range_count = 4;
        u.s = &scalars;
        u.eps = 1e-8, u.dampening = rule.dampening, u.nesterov = rule.nesterov;
      };
      UpdateParams<T> u;
      fill(u);
      u.g = g.data(), u.m = m.data(), u.v = v.data();
      const auto m_before = m, v_before = v;
      p = on_any_threads(p, [&](std::vector<T>& out) {
        m = m_before, v = v_before;
        u.p = out.data(), u.m = m.data(), u.v = v.data();
        if (rule.rule == UpdateRule::sgd && rule.momentum == 0) u.m = nullptr;
        cpu_backend<T>().update(u);
      });
      UpdateParams<double> e;
      fill(e);
      double momentum = 0;  // only whether there is one counts here
      if (rule.momentum != 0) e.m = &momentum;
      for (const ArenaRange& r : ranges)
        for (auto i = r.begin; i < r.end; ++i)
          exact_step(e, exact[static_cast<std::size_t>(i)], value(g[static_cast<std::size_t>(i)]));
    }
    std::vector<double> expected;
    for (const Trajectory& t : exact) expected.push_back(t.p);
    check_close(p, expected, 20 * unit<T>);
  }
}

TEST_CASE_TEMPLATE("square sums and moving averages", T, float, double, bf16) {
  const index_t n = 100003;
  const auto g = values<T>(n, 1), p = values<T>(n, 2);
  long double expected = 0;
  for (const T v : g) expected += static_cast<long double>(value(v)) * value(v);
  std::vector<double> sum = on_any_threads(std::vector<double>(1), [&](std::vector<double>& out) {
    cpu_backend<T>().sum_squares(g.data(), n, out.data());
  });
  CHECK(std::abs(sum[0] / static_cast<double>(expected) - 1) < 1e-14);
  std::vector<double> average;
  for (std::size_t i = 0; i < g.size(); ++i)
    average.push_back(0.9 * value(g[i]) + 0.1 * value(p[i]));
  const auto shadow = on_any_threads(
      g, [&](std::vector<T>& out) { cpu_backend<T>().ema(out.data(), p.data(), n, 0.9); });
  check_close(shadow, average, 2 * unit<T>);
}

}  // namespace
