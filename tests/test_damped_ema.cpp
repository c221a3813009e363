// Damped moving averages: the operation, its composition, and the recurrence in plain loops.
#include <doctest/doctest.h>

#include "flr/graph.hpp"
#include "flr/ops.hpp"

using namespace flr;

namespace {

/// The recurrence, in long double.
std::vector<double> by_loops(const Tensor<double>& x, const Tensor<double>& decay,
                             const Tensor<double>& weight, bool reverse) {
  const index_t batch = x.size(0), n = x.size(1), channels = x.size(2), order = decay.size(1);
  std::vector<double> y(static_cast<std::size_t>(x.numel()));
  for (index_t b = 0; b < batch; ++b)
    for (index_t c = 0; c < channels; ++c) {
      std::vector<long double> s(static_cast<std::size_t>(order), 0);
      for (index_t i = 0; i < n; ++i) {
        const index_t t = reverse ? n - 1 - i : i;
        long double sum = 0;
        for (index_t j = 0; j < order; ++j) {
          auto& state = s[static_cast<std::size_t>(j)];
          state = static_cast<long double>(decay.at(c, j)) * state + x.at(b, t, c);
          sum += weight.at(c, j) * state;
        }
        y[static_cast<std::size_t>((b * n + t) * channels + c)] = static_cast<double>(sum);
      }
    }
  return y;
}

double worst(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
    if (!(d <= most)) most = d;
  }
  return most;
}

/// Rates from quick to slow: 0.02 … 0.999.
Tensor<double> rates(index_t channels, index_t order) {
  return map(0.02 + 0.979 * _1, rand<double>({channels, order}));
}

}  // namespace

TEST_CASE("damped_ema and its composition are the plain recurrence, at any length") {
  manual_seed(1);
  for (const bool reverse : {false, true})
    for (const index_t n : {1, 2, 63, 64, 65, 200, 1000, 3000})
      for (const index_t channels : {3, 17}) {
        CAPTURE(n);
        CAPTURE(reverse);
        CAPTURE(channels);
        const auto x = randn<double>({2, n, channels});
        const auto r = rates(channels, 4), w = randn<double>({channels, 4});
        const auto expected = by_loops(x, r, w, reverse);
        CHECK(worst(damped_ema(x, r, w, reverse).to_vector(), expected) < 1e-13);
        CHECK(worst(damped_ema_composition(x, r, w, reverse).contiguous().to_vector(), expected) <
              1e-12);
        const auto f = damped_ema(x.to<float>(), r.to<float>(), w.to<float>(), reverse);
        CHECK(worst(f.to<double>().to_vector(), expected) < 2e-4);
      }
}

TEST_CASE("damped_ema takes slices, no tokens, and activations in bf16") {
  manual_seed(2);
  const auto wide = randn<double>({2, 40, 6});
  const auto x = slice(slice(wide, 2, 1, 4), 1, 3, 40);
  const auto r = rates(3, 2), w = randn<double>({3, 2});
  CHECK(worst(damped_ema(x, r, w).to_vector(), by_loops(x.contiguous(), r, w, false)) < 1e-13);
  CHECK(damped_ema(zeros<double>({2, 0, 3}), r, w).shape() == Shape{2, 0, 3});
  const auto rounded = x.to<bf16>();
  const auto y = damped_ema(rounded, r.to<float>(), w.to<float>(), true);
  CHECK(worst(y.to<double>().to_vector(), by_loops(rounded.to<double>(), r, w, true)) < 1e-2);
}

TEST_CASE("gradients of damped_ema") {
  manual_seed(3);
  for (const bool reverse : {false, true}) {
    const auto check_of = [&](auto f) {
      const auto result =
          gradcheck(f, {randn<double>({2, 9, 2}), rates(2, 3), randn<double>({2, 3})});
      INFO(result.where);
      CHECK(result.ok);
    };
    check_of([=](const auto& x) { return damped_ema(x[0], x[1], x[2], reverse); });
    check_of([=](const auto& x) { return damped_ema_composition(x[0], x[1], x[2], reverse, 4); });
    check_of([=](const auto& x) {  // adds to gradients that are there already
      return damped_ema(damped_ema(x[0], x[1], x[2], reverse) + x[0], x[1], x[2]);
    });
  }
}

TEST_CASE("gradients of damped_ema over many chunks are those of its composition") {
  manual_seed(4);
  for (const bool reverse : {false, true}) {
    const auto x0 = randn<double>({3, 1000, 20}), r0 = rates(20, 4), w0 = randn<double>({20, 4});
    const auto seed = randn<double>({3, 1000, 20});
    const auto gradients = [&](auto f) {
      auto x = x0.clone().requires_grad(true), r = r0.clone().requires_grad(true),
           w = w0.clone().requires_grad(true);
      backward(f(x, r, w), seed);
      std::vector<double> all = x.grad().to_vector();
      for (const auto& t : {r, w})
        for (const double g : t.grad().to_vector()) all.push_back(g);
      return all;
    };
    CHECK(worst(gradients([&](const auto& x, const auto& r, const auto& w) {
                  return damped_ema(x, r, w, reverse);
                }),
                gradients([&](const auto& x, const auto& r, const auto& w) {
                  return damped_ema_composition(x, r, w, reverse);
                })) < 1e-11);
  }
}

TEST_CASE("damped_ema has the same bits with any number of threads") {
  manual_seed(5);
  const auto run = [](int threads) {
    set_num_threads(threads);
    manual_seed(6);
    auto x = randn({4, 150, 40}).requires_grad(true),
         r = rates(40, 4).to<float>().requires_grad(true);
    const auto y = damped_ema(x, r, randn({40, 4}));
    backward(sum(square(y)));
    set_num_threads(0);
    return std::tuple{y.to_vector(), x.grad().to_vector(), r.grad().to_vector()};
  };
  CHECK(run(1) == run(3));
}

TEST_CASE("damped_ema says what does not fit") {
  CHECK_THROWS_WITH_AS(damped_ema(zeros({2, 5, 3}), zeros({4, 2}), zeros({4, 2})),
                       doctest::Contains("[damped_ema] expected"), Error);
}
