// What every token mixer must keep: gradients, padding, activations in bf16.
#pragma once

#include <doctest/doctest.h>

#include "flr/flr.hpp"

namespace flr {

inline double largest_difference(const Tensor<double>& a, const Tensor<double>& b) {
  REQUIRE(a.shape() == b.shape());
  const auto x = a.to_vector(), y = b.to_vector();
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

/// A module's gradients of x and of every parameter against central differences. `run` maps x to a
/// tensor; large parameters are sampled.
template <class Run>
void check_gradients(nn::Module<double>& module, Tensor<double> x, Run&& run) {
  module.zero_grad();
  x.requires_grad(true);
  const Tensor<double> y = run(x);
  const Tensor<double> seed = randn<double>(y.shape());
  backward(y, seed);
  const auto value = [&] {
    NoGrad scope;
    return sum(run(x) * seed).item();
  };
  auto list = module.parameters();
  list.push_back({"x", nn::Role::other, x});
  for (auto& p : list) {
    CAPTURE(p.name);
    const std::vector<double> gradient = p.value.grad().to_vector();
    const index_t step = std::max<index_t>(1, p.value.numel() / 12);
    for (index_t i = 0; i < p.value.numel(); i += step) {
      double* element = p.value.mutable_data() + i;
      const double original = *element, h = 1e-4 * (1 + std::abs(original));
      const auto slope = [&](double by) {
        *element = original + by;
        const double up = value();
        *element = original - by;
        const double down = value();
        *element = original;
        return (up - down) / (2 * by);
      };
      const double difference = (4 * slope(h) - slope(2 * h)) / 3;
      const double g = gradient[static_cast<std::size_t>(i)];
      CHECK(std::abs(difference - g) / (1 + std::abs(g)) < 1e-7);
    }
  }
}

/// A padded batch gives every sample what it gives alone. `lengths` real tokens a sample, at the
/// start or at the end.
template <class Run>
void check_padding(index_t channels, Run&& run, bool at_the_end = true) {
  NoGrad scope;
  const std::vector<index_t> lengths{5, 9, 1};
  const index_t most = 11, batch = 3;
  Tensor<double> x = randn<double>({batch, most, channels}) * 3;
  std::vector<std::uint8_t> bits(static_cast<std::size_t>(batch * most), 0);
  for (index_t b = 0; b < batch; ++b)
    for (index_t t = 0; t < lengths[static_cast<std::size_t>(b)]; ++t)
      bits[static_cast<std::size_t>(b * most + (at_the_end ? t : most - 1 - t))] = 1;
  const Tensor<double> y = run(x, from_vector(bits, {batch, most}));
  for (index_t b = 0; b < batch; ++b) {
    CAPTURE(b);
    const index_t n = lengths[static_cast<std::size_t>(b)], from = at_the_end ? 0 : most - n;
    const auto real = [&](const Tensor<double>& t) {
      return slice(slice(t, 0, b, b + 1), 1, from, from + n).clone();
    };
    CHECK(largest_difference(real(y), run(real(x), Tensor<std::uint8_t>{})) < 1e-12);
  }
}

/// Activations in bf16 follow those in float to what bf16 can hold.
template <class M>
void check_bf16(const M& module, index_t channels, index_t tokens = 20) {
  NoGrad scope;
  const Tensor<float> x = randn<float>({2, tokens, channels}).to<bf16>().to<float>();
  const Tensor<float> y = module(x), z = module(x.to<bf16>()).template to<float>();
  const double error = std::sqrt(static_cast<double>(sum(square(y - z)).item()) /
                                 static_cast<double>(sum(square(y)).item()));
  CHECK(error < 0.03);
}

/// All of that for a module made by make(scalar{}).
template <class Make>
void check_mixer(const std::string& name, index_t channels, Make&& make, bool padding_anywhere = true) {
  CAPTURE(name);
  manual_seed(11);
  const auto module = make(double{});
  const auto plain = [&](const Tensor<double>& x) { return (*module)(x); };
  const auto masked = [&](const Tensor<double>& x, const Tensor<std::uint8_t>& keep) {
    return (*module)(x, keep);
  };
  check_gradients(*module, randn<double>({2, 7, channels}), plain);
  const auto keep = from_vector<std::uint8_t>({1, 1, 1, 0, 0, 1, 1, 1, 1, 1}, {2, 5});
  check_gradients(*module, randn<double>({2, 5, channels}),
                  [&](const Tensor<double>& x) {
                    // What padding gives is nobody's business, and so is its gradient.
                    return (*module)(x, keep) *
                           reshape(keep.to<double>(), {2, 5, 1});
                  });
  check_padding(channels, masked);
  if (padding_anywhere) check_padding(channels, masked, false);
  check_bf16(*make(float{}), channels);
}

}  // namespace flr
