// kernels/damped_ema as it stands there, on emulated warps, against the recurrence in double.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "damped_ema/entries.hpp"

namespace {

using namespace flr;

struct Sizes {
  index_t batch, tokens, channels, order;
  bool reverse;
  index_t size() const { return batch * tokens * channels; }
  index_t rates() const { return channels * order; }
  index_t at(index_t b, index_t t, index_t c) const {
    return (b * tokens + (reverse ? tokens - 1 - t : t)) * channels + c;
  }
};

struct Reference {
  std::vector<double> y, dx, ddecay, dweight;
};

template <class T>
Reference by_loops(const Sizes& n, const std::vector<T>& x, const std::vector<T>& dy,
                   const std::vector<float>& r, const std::vector<float>& w) {
  Reference out;
  out.y.resize(x.size()), out.dx.resize(x.size());
  out.ddecay.resize(r.size()), out.dweight.resize(r.size());
  std::vector<double> s(std::size_t(n.tokens) + 1);
  for (index_t b = 0; b < n.batch; ++b)
    for (index_t c = 0; c < n.channels; ++c)
      for (index_t j = 0; j < n.order; ++j) {
        const auto rate = std::size_t(c * n.order + j);
        for (index_t t = 0; t < n.tokens; ++t) {
          const auto at = std::size_t(n.at(b, t, c)), i = std::size_t(t);
          s[i + 1] = double(r[rate]) * s[i] + double(float(x[at]));
          out.y[at] += double(w[rate]) * s[i + 1];
          out.dweight[rate] += double(float(dy[at])) * s[i + 1];
        }
        double g = 0;
        for (index_t t = n.tokens; t-- > 0;) {
          const auto at = std::size_t(n.at(b, t, c));
          g = double(w[rate]) * double(float(dy[at])) + double(r[rate]) * g;
          out.dx[at] += g;
          out.ddecay[rate] += g * s[std::size_t(t)];
        }
      }
  return out;
}

template <class T>
double deviation(const std::vector<T>& got, const std::vector<double>& expected) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = double(float(got[i])) - expected[i];
    difference += d * d, size += expected[i] * expected[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

template <class T>
void check_sizes(const Sizes& n, double allowed, double rates_allowed) {
  CAPTURE(n.batch);
  CAPTURE(n.tokens);
  CAPTURE(n.channels);
  CAPTURE(n.order);
  CAPTURE(n.reverse);
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(0.02f, 0.999f);
  const auto size = std::size_t(n.size()), rates = std::size_t(n.rates());
  std::vector<T> x, dy;
  std::vector<float> r, w;
  for (std::size_t i = 0; i < size; ++i) x.emplace_back(normal(random)), dy.emplace_back(normal(random));
  for (std::size_t i = 0; i < rates; ++i) r.push_back(uniform(random)), w.push_back(normal(random));
  const Reference expected = by_loops(n, x, dy, r, w);

  std::vector<T> y(size, T(NAN)), dx(size, T(1.0f));
  std::vector<float> ddecay(rates, NAN), dweight(rates, 2);
  DampedEmaParams<T> p;
  p.batch = n.batch, p.tokens = n.tokens, p.channels = n.channels, p.order = n.order;
  p.reverse = n.reverse, p.x = x.data(), p.decay = r.data(), p.weight = w.data(), p.y = y.data();
  cuda::damped_ema_chunks(p);
  DampedEmaBackwardParams<T> b;
  b.f = p, b.dy = dy.data();
  b.dx = dx.data(), b.ddecay = ddecay.data(), b.dweight = dweight.data();
  b.dx_mode = b.dweight_mode = GradMode::accumulate, b.ddecay_mode = GradMode::overwrite;
  cuda::damped_ema_backward_chunks(b);
  Reference sum = expected;
  for (double& v : sum.dx) v += 1;
  for (double& v : sum.dweight) v += 2;
  CHECK(deviation(y, expected.y) < allowed);
  CHECK(deviation(dx, sum.dx) < allowed);
  CHECK(deviation(ddecay, expected.ddecay) < rates_allowed);
  CHECK(deviation(dweight, sum.dweight) < rates_allowed);
}

}  // namespace

TEST_CASE("emulated damped_ema: chunks, tails, orders, both directions") {
  for (const bool reverse : {false, true})
    for (const index_t tokens : {1, 31, 32, 33, 1025})
      for (const Sizes& n : {Sizes{1, tokens, 3, 1, reverse}, {2, tokens, 5, 3, reverse},
                             {1, tokens, 40, 16, reverse}, {1, tokens, 2, 19, reverse}}) {
        check_sizes<float>(n, 2e-6, 2e-5);
        check_sizes<bf16>(n, 4e-3, 2e-5);
      }
}

TEST_CASE("emulated damped_ema: no tokens") {
  std::vector<float> r(2, 0.5f), g(2, NAN);
  DampedEmaBackwardParams<float> b;
  b.f.batch = 1, b.f.channels = 2, b.f.order = 1, b.f.decay = r.data(), b.f.weight = r.data();
  b.ddecay = g.data(), b.ddecay_mode = GradMode::overwrite;
  cuda::damped_ema_chunks(b.f);
  cuda::damped_ema_backward_chunks(b);
  CHECK(g == std::vector<float>(2, 0.0f));
}
