// Damped moving averages on the GPU against the CPU in double.
#include "compare.hpp"

using namespace cuda_test;

namespace {

void check_ema(index_t batch, index_t tokens, index_t channels, index_t order, bool reverse) {
  const auto rates = map(0.02 + 0.979 * _1, rand<double>({channels, order}));
  const auto what = fmt::format("damped_ema B{} N{} C{} order {}{}", batch, tokens, channels, order,
                                reverse ? " reverse" : "");
  // Rates and weights stay in the type that they are parameters in.
  const auto f = [=](const auto& t) {
    using T = typename std::decay_t<decltype(t[0])>::value_type;
    using C = compute_t<T>;
    return damped_ema(t[0], t[1].template to<C>(), t[2].template to<C>(), reverse);
  };
  compare_all(what, f,
              {draw({batch, tokens, channels}), rates.to<bf16>().to<double>(), draw({channels, order})},
              Rule{.float_tolerance = 5e-5});
}

}  // namespace

TEST_CASE("cuda damped_ema: chunks, tails, orders, both directions") {
  manual_seed(31);
  for (const bool reverse : {false, true}) {
    for (const index_t tokens : {1, 31, 32, 33, 1025}) {
      if (small() && tokens > 33) continue;
      check_ema(2, tokens, 5, 3, reverse);
      check_ema(1, tokens, 40, 16, reverse);
    }
    check_ema(1, small() ? 70 : 300, 3, 1, reverse);
    check_ema(2, small() ? 70 : 200, 17, 32, reverse);
    if (!small()) check_ema(1, 50'000, 6, 4, reverse);  // chunks longer than the shortest
    if (!small()) check_ema(8, 2000, 128, 8, reverse);
  }
}

TEST_CASE("cuda damped_ema: gradients that are there already, no tokens, more rates than registers") {
  manual_seed(32);
  const auto twice = [](const auto& t) {
    using C = compute_t<typename std::decay_t<decltype(t[0])>::value_type>;
    const auto r = t[1].template to<C>(), w = t[2].template to<C>();
    return damped_ema(damped_ema(t[0], r, w) + t[0], r, w, true);
  };
  const auto rates = map(0.1 + 0.8 * _1, rand<double>({12, 4})).to<bf16>().to<double>();
  compare_all("damped_ema twice", twice, {draw({2, 100, 12}), rates, draw({12, 4})},
              Rule{.float_tolerance = 5e-5});
  const auto none = zeros<float>({2, 0, 12}, Device::cuda);
  const auto r = rates.to<float>().to(Device::cuda);
  CHECK(damped_ema(none, r, r).shape() == none.shape());
  check_ema(1, 65, 3, 33, false);  // takes the composition
}
